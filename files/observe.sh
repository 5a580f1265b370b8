# shellcheck shell=sh
# NAME
#   observe.sh - print the state of this host's Postfix that a plan needs
# SYNOPSIS
#   observe.sh [DIRECTORY] < expectation
# DESCRIPTION
#   DIRECTORY is the configuration directory of the instance; '' is the one that this Postfix was compiled for.
#   Reads lines "want NAME SHA256" (a file whose content need not be sent when its digest is this), "user NAME" (an
#   account that aliases lead to), "types" (the table types are needed), "ask PARAMETER" (one that is declared),
#   "certificate PATH KEY" (files for TLS that are to be there), "path PATH" (another file that is), "queue" (its length is
#   needed), "queues" (that of each queue is), "brief" (the contents of tables other than aliases, and of master.cf, are not
#   needed where they are the ones that were loaded: other hosts may have the same) and "generation NUMBER|last" (what is
#   kept of it is needed). Changes nothing and
#   writes no file.
#   Prints one record a line, the last one being "end":
#     nopath PATH (there is no such file); nocertificate PATH; content certificate/PATH text, of the certificates in it, also
#     of a managed file that is not as wanted; key PATH SHA256|absent|damaged|unknown (of the public key that belongs to it);
#     default PARAMETER = VALUE (as compiled in); instance DIRECTORY (where it is not the one compiled in);
#     lacks PARAMETER (asked for, and not among its defaults); table_types TYPE...; running yes|no; nouser NAME;
#     file NAME SHA256 MODE UID GID; odd NAME MODE (not a regular file);
#     content NAME text|hex, followed by its lines, each behind "|"; programs NAME (which are kept here);
#     manifest LINE; journal LINE; bootstrap LINE; lock LINE; lock_busy yes|no; now SECONDS (since 1970; with a lock);
#     held REVIEW STATE (with a lock, of what is staged and checked for another run)
#   Where a file is not the one that was loaded last, also its content then, as content loaded/NAME. Where that is so
#   of main.cf, or it was never ours: effective PARAMETER = VALUE (of those that name domains, networks and aliases),
#   broken main.cf (where Postfix cannot read it), builtin PARAMETER = VALUE (of those in main.cf and asked for),
#   unused PARAMETER (that nothing reads), content PATH of the files they name, and unindexed PATH of a table whose
#   source was edited after it was made.
#   With a journal also content before/main.cf, the one that was live before the interrupted change.
#   Where relay domains or routes differ from what is wanted, or the queue is asked for: queue MESSAGES, and queued
#   DOMAIN RECIPIENTS for each domain that is relayed; "queue unread" where it cannot be listed. Where queues are asked
#   for: queues NAME MESSAGES for each; none where these directories are not there.
#   With a generation: generations NUMBER..., all that are kept; kept NUMBER RECORD of what their manifests say of when
#   and by whom; and if it is one of them: chosen NUMBER; saved file
#   NAME SHA256 MODE UID GID; content saved/NAME; saved manifest LINE; and where it has no manifest, as it was made by
#   hand, saved effective PARAMETER = VALUE and content PATH as above.
#   Where the host cannot be read: "unreadable REASON", then "end".
#   It runs on every host in every run, so it starts as few processes as it can.
# EXIT STATUS
#   0 in every case in which the output is complete

# The parameters whose defaults decide what is rendered, besides the version.
RENDERED_BY="config_directory daemon_directory queue_directory default_database_type inet_interfaces inet_protocols \
parent_domain_matches_subdomains compatibility_level maillog_file smtpd_relay_restrictions \
smtpd_forbid_bare_newline smtpd_forbid_bare_newline_reject_code"

# unreadable REASON - end, as nothing can be said of this host.
unreadable() {
    printf 'unreadable %s\nend\n' "$*"
    exit 0
}

# files - print a record for every managed file and table, and the name of the programs that are kept, where all of these
# are as they were sent.
files() {
    regular=
    for name in $(live_names); do
        if [ -f "$name" ] && [ ! -L "$name" ]; then
            regular="$regular $name"
        else
            # shellcheck disable=SC2012
            printf 'odd %s %s\n' "$name" "$(ls -ldn "$name" | cut -c 1-10)"
        fi
    done
    kept='' sums=''
    for list in "$PRIVATE"/programs.*/sums; do
        [ -f "$list" ] || continue
        kept=${list%/sums}
        read -r sums <"$list" || :
    done
    # shellcheck disable=SC2086
    set -- $regular
    [ $# -gt 0 ] || return 0
    [ -z "$kept" ] || set -- "$@" "$kept"/*.sh
    digest "$@" | {
        # Nine words a line, none with a blank in it, and sorted as live_names has them: splitting is wanted.
        # shellcheck disable=SC2046,SC2086
        set -- $(ls -ldn $regular)
        found=''
        while read -r sum name; do
            case $name in
                "$PRIVATE"/*) found="$found $sum ${name##*/}" ;;
                *)
                    say "file $name $sum ${1%"${1#??????????}"} $3 $4"
                    shift 9
                    ;;
            esac
        done
        [ -z "$kept" ] || [ "$found" != " $sums" ] || say "programs ${kept##*/}"
    }
}

# contents NAME SHA256 - print the content of a managed file that is not as wanted, but where its digest is enough, and what
# it was when it was loaded where that is something else.
contents() {
    case "$wanted " in
        *" $1=$2 "*) ;;
        *)
            case $1 in relaydomains | transport) queue_matters=yes ;; esac
            is_digest_enough "$1" "$2" || content "$1"
            ;;
    esac
    case "$loaded " in
        *" $1=$2 "*) ;;
        *)
            [ ! -f "$PRIVATE/loaded/$1" ] || content "loaded/$1" "$PRIVATE/loaded/$1"
            [ "$1" != main.cf ] || { foreign "$PWD" || :; queue_matters=yes; }
            ;;
    esac
}

# is_digest_enough NAME SHA256 - whether it was loaded as it is, and other hosts may have the same.
is_digest_enough() {
    case " $TABLES $SHARED " in *" $1 "*) ;; *) return 1 ;; esac
    case "$1$brief$loaded " in aliases*) return 1 ;; *yes*" $1=$2 "*) ;; *) return 1 ;; esac
}

# relayed - print the words of what names relay domains, one a line.
relayed() {
    {
        printf 'file %s\n' relaydomains transport
        [ -z "$effective" ] || tables
    } | while read -r _ path; do
        [ ! -f "$path" ] || awk '{ gsub(/,/, " "); for (word = 1; word <= NF; word++) print $word }' "$path"
    done
    say "$effective" | sed -n 's/^relay_domains *= *//p' | split
}

# is_queue_empty - whether no message waits, as the directories of the queue show without a process of their own.
is_queue_empty() {
    for place in maildrop incoming active hold deferred; do
        [ -d "$queue/$place" ] || return 1
        for message in "$queue/$place"/* "$queue/$place"/*/*; do
            [ ! -f "$message" ] && [ "${message%/*/*}" = "$queue/$place" ] && [ -d "$message" ] && return 1
            [ ! -f "$message" ] || return 1
        done
    done
}

# queue - print how many messages wait, and how many recipients of them in each domain that is relayed.
queue() {
    ! is_queue_empty || { echo 'queue 0' && return; }
    listed=$(postqueue -c "$PWD" -p 2>/dev/null) || { echo 'queue unread' && return; }
    { relayed | sed 's/^/known /' && say "$listed" | sed 's/^/queue /'; } | awk '
        { line = substr($0, 7) }
        /^known / { known[tolower(line)]; next }
        line ~ /^[0-9A-Za-z]/ && line !~ /^Mail queue is empty/ { messages++ }
        line ~ /^ +[^ (].*@/ {
            domain = tolower(line); sub(/.*@/, "", domain); sub(/[ \t]*$/, "", domain)
            while (!(domain in known) && sub(/^[^.]*\./, "", domain)) { }
            if (domain in known) recipients[domain]++
        }
        END { print "queue", messages + 0; for (domain in recipients) print "queued", domain, recipients[domain] }' | lines
}

# queues - print how many messages wait in each queue, as its directory shows. One may go while they are counted.
queues() {
    (cd "$queue" && find maildrop incoming active hold deferred -type f 2>/dev/null) | awk -F / '
        BEGIN { split("maildrop incoming active hold deferred", names, " ") }
        { messages[$1]++ }
        END { for (one in names) print "queues", names[one], messages[names[one]] + 0 }'
}

# saved NUMBER|last - print what is kept of a generation.
saved() {
    numbers=
    for path in "$PRIVATE"/generations/*; do
        case ${path##*/} in
            *[!0-9]*) ;;
            *)
                numbers="$numbers ${path##*/}"
                [ ! -f "$path/manifest" ] || sed -n "s/^record /kept ${path##*/} /p" "$path/manifest"
                ;;
        esac
    done
    printf 'generations%s\n' "$numbers"
    # shellcheck disable=SC2086
    number=$(printf '%s\n' $numbers | sort -n | tail -n 1)
    [ "$1" = last ] || number=$1
    kept=$PWD/$PRIVATE/generations/$number
    [ -n "$number" ] && [ -d "$kept" ] || return 0
    printf 'chosen %s\n' "$number"
    (cd "$kept" && managed=" $FILES " && files) | sed 's/^/saved /'
    for name in $FILES; do
        is_secret "$name" || [ ! -f "$kept/$name" ] || content "saved/$name" "$kept/$name"
    done
    prefixed 'saved manifest' "$kept/manifest"
    [ -f "$kept/manifest" ] || foreign "$kept" | sed -e 's/^effective /saved &/' -e 's/^broken /saved &/' -e '/^[bu][un]/d'
}

# prefixed WORD FILE - print the lines of FILE, if there is one, each behind WORD.
prefixed() {
    [ ! -f "$2" ] || sed "s/^/$1 /" "$2"
}

# enter_instance DIRECTORY PRIMARY - become the instance of that configuration directory; PRIMARY is that of the one
# which knows of all others (postmulti(1)). Names of instances begin with "postfix-".
enter_instance() {
    known=$(postconf -c "$2" -h multi_instance_directories 2>/dev/null) || :
    name=${1##*/} first=
    [ -n "$known" ] || first='postmulti -e init && '
    way="${first}postmulti -I postfix-${name#postfix-} -G mta -e"
    [ -d "$1" ] || unreadable "there is no instance $1; to make one: $way create config_directory=$1"
    say "$known" | split | grep -qxF -e "$1" ||
        unreadable "$1 is no instance that postmulti knows (multi_instance_directories in $2/main.cf); to make it one: $way import config_directory=$1"
    directory=$1
    printf 'instance %s\n' "$1"
}

instance=${1:-}
command -v postconf >/dev/null || unreadable "found no postconf in $PATH: is Postfix installed? (pyinfra INVENTORY mailproxy.bootstrap installs it)"
wanted='' asked='' effective='' queue_matters='' queues_matter='' generation='' brief=''
while IFS=' ' read -r word name value; do
    case $word in
        want) wanted="$wanted $name=$value" ;;
        user) id -u -- "$name" >/dev/null 2>&1 || printf 'nouser %s\n' "$name" ;;
        types) printf 'table_types %s\n' "$(postconf -m | tr '\n' ' ')" ;;
        ask) asked="$asked $name" ;;
        certificate) pair "$name" "$value" ;;
        path) [ -f "$name" ] || printf 'nopath %s\n' "$name" ;;
        queue) queue_matters=yes ;;
        queues) queues_matter=yes ;;
        brief) brief=yes ;;
        generation) generation=$name ;;
    esac
done
# Compiled in, so that a broken main.cf hides nothing. What this version does not know is left out, with a warning.
# The names hold no blanks: splitting is wanted.
# shellcheck disable=SC2086
defaults=$(postconf -d mail_version $RENDERED_BY $asked 2>/dev/null) || unreadable "postconf -d failed: $(postconf -d mail_version 2>&1 | tr '\n' ' ')"
newline='
'
directory=${defaults#*config_directory = }
directory=${directory%%"$newline"*}
daemons=${defaults#*daemon_directory = }
queue=${defaults#*queue_directory = }
case $directory in
    '' | *[!A-Za-z0-9/._-]*) unreadable "configuration directory '$directory', expected a plain path" ;;
esac
[ -z "$instance" ] || [ "$instance" = "$directory" ] || enter_instance "$instance" "$directory"
cd "$directory" 2>/dev/null || unreadable "cannot enter the configuration directory $directory"
! is_bootstrapping || grep -q '^installed ' "$PRIVATE/bootstrap" ||
    unreadable 'the installation of Postfix was stopped there: pyinfra INVENTORY mailproxy.bootstrap goes on with it'

known=
while [ -n "$defaults" ]; do
    line=${defaults%%"$newline"*}
    case " mail_version $RENDERED_BY " in
        *" ${line%% *} "*) printf 'default %s\n' "$line" ;;
    esac
    known="$known ${line%% *}"
    case $defaults in
        *"$newline"*) defaults=${defaults#*"$newline"} ;;
        *) defaults= ;;
    esac
done
for name in $asked; do
    case "$known " in
        *" $name "*) ;;
        *) printf 'lacks %s\n' "$name" ;;
    esac
done
find_postfix "${daemons%%"$newline"*}" "${queue%%"$newline"*}"
if master_runs; then echo 'running yes'; else echo 'running no'; fi
names=''
for name in $wanted; do
    names="$names ${name%%=*}"
done
# Names hold no blanks: splitting is wanted.
# shellcheck disable=SC2086
find_managed $names
records=$(files)
say "$records"

loaded=
if [ -f "$PRIVATE/manifest" ]; then
    while IFS=' ' read -r word value name; do
        [ "$word" != file ] || loaded="$loaded $name=$value"
        say "manifest $word${value:+ $value}${name:+ $name}"
    done <"$PRIVATE/manifest"
fi
# A record of a file holds no blanks but those between its words: splitting is wanted.
# shellcheck disable=SC2086
set -- $records
while [ $# -gt 1 ]; do
    if [ "$1" = file ] && ! is_secret "$2"; then
        case " $FILES " in *" $2 "*) contents "$2" "$3" ;; esac
    elif [ "$1" = file ] && [ "$2" != "${2%.pem}" ]; then
        case "$wanted " in *" $2=$3 "*) ;; *) certificates "$2" ;; esac
    fi
    shift
done
for name in $FILES; do
    case "$loaded " in
        *" $name="*) is_secret "$name" || [ -e "$name" ] || [ ! -f "$PRIVATE/loaded/$name" ] || content "loaded/$name" "$PRIVATE/loaded/$name" ;;
    esac
done
[ -z "$queue_matters" ] || queue
[ -z "$queues_matter" ] || [ ! -d "$queue/deferred" ] || queues
[ -z "$generation" ] || saved "$generation"
prefixed journal "$PRIVATE/journal"
prefixed bootstrap "$PRIVATE/bootstrap"
# What an interrupted change may have been started with.
if [ -f "$PRIVATE/journal" ]; then
    generation=$(sed -n 's/^generation \([0-9]\{1,\}\)$/\1/p' "$PRIVATE/journal")
    before=$PRIVATE/generations/$generation/main.cf
    [ ! -f "$before" ] || content before/main.cf "$before"
fi
if [ -f "$PRIVATE/lock" ]; then
    prefixed lock "$PRIVATE/lock"
    if lock_is_busy; then echo 'lock_busy yes'; else echo 'lock_busy no'; fi
    stage=$PRIVATE/stage.$(lock_value token)
    [ ! -f "$stage/checked" ] || sed -n '/^held /p' "$stage/change"
    date '+now %s'
fi
echo end
