# shellcheck shell=sh
# NAME
#   common.sh - what every program of mailproxy on a host begins with
# SYNOPSIS
#   put before the text of another program; never run by itself
# DESCRIPTION
#   Sets a private umask, a fixed PATH and the C locale, and defines the functions below.
#   The files that can be managed are named by "$FILES", relative to the configuration directory: the basic ones on every
#   host, the others where the keys of group_data that they are of are declared. A stage carries the token of its run in
#   its name: whatever else happens, two runs never mix what they stage.
# EXIT STATUS (of all programs)
#   0 done   10 locked   11 the host moved   12 a table failed   13 a check failed
#   14 failed and restored   15 failed and not restored   16 settled already   64 damaged input   69 not available

set -eu
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin:/usr/pkg/sbin:/usr/pkg/bin
LC_ALL=C
# An instance chosen in the caller's environment must not redirect the programs of Postfix.
unset MAIL_CONFIG 2>/dev/null || :
export PATH LC_ALL

# As mailproxy/managed.py has them; FILES is sorted. Not every program needs them.
# shellcheck disable=SC2034
{
    BASIC='aliases main.cf mynetworks relaydomains transport'
    FILES='aliases bodychecks clientaccess headerchecks heloaccess main.cf master.cf mimechecks mynetworks passwords'
    FILES="$FILES postscreenaccess recipientaccess relaydomains relayrecipients senderaccess tls.pem tlspolicy"
    FILES="$FILES transport verifydomains"
    TABLES='aliases heloaccess passwords recipientaccess relaydomains relayrecipients senderaccess tlspolicy'
    TABLES="$TABLES transport verifydomains"
    SECRETS='passwords tls.pem'
    SHARED='master.cf'
}
PRIVATE=.mailproxy

# fail STATUS WORD... - say why on standard error and end with STATUS.
fail() {
    status=$1
    shift
    printf 'mailproxy: %s\n' "$*" >&2
    exit "$status"
}

# say TEXT - print a text of any length. A Korn shell has no printf of its own, and a program takes only so much.
if [ -n "${KSH_VERSION:-${SH_VERSION:-}}" ]; then
    say() {
        print -r -- "$1"
    }
else
    say() {
        printf '%s\n' "$1"
    }
fi

# GNU and busybox have sha256sum, the BSDs sha256; openssl is the last resort.
if command -v sha256sum >/dev/null; then
    DIGEST='sha256sum'
elif command -v sha256 >/dev/null; then
    DIGEST='sha256 -r'
elif command -v openssl >/dev/null; then
    DIGEST='openssl dgst -sha256 -r'
else
    fail 69 'found none of sha256sum, sha256, openssl: cannot compare files'
fi

# digest NAME... - print "SHA256 NAME" for each file; one process for all of them.
digest() {
    $DIGEST "$@" | while read -r sum name; do
        printf '%s %s\n' "$sum" "${name#\*}"
    done
}

# find_managed [NAME...] - set $managed, the files that are managed here: the basic ones, those that were live by the last
# change, those of one that was cut off, and these. Others may have a name of ours and be somebody's own.
find_managed() {
    managed=" $BASIC "
    while read -r word _ name; do
        [ "$word" != file ] || set -- "$@" "$name"
    done 2>/dev/null <"$PRIVATE/manifest" || :
    while read -r word name; do
        case "$word  $FILES " in "changes "*" $name "*) set -- "$@" "$name" ;; esac
    done 2>/dev/null <"$PRIVATE/journal" || :
    for name in "$@"; do
        case $managed in *" $name "*) ;; *) managed="$managed$name " ;; esac
    done
}

# manage_bases STAGE - the same of a change, whose directory that is.
manage_bases() {
    bases=$1/bases
    set --
    while read -r _ name; do
        set -- "$@" "$name"
    done <"$bases"
    find_managed "$@"
}

# live_names - print the managed files and indexed tables that exist here, sorted, as find_managed has them.
# The suffixes are those of cdb, hash and btree, dbm (two files), and lmdb.
live_names() {
    for source in $FILES; do
        case $managed in *" $source "*) ;; *) continue ;; esac
        set -- "$source"
        case " $TABLES " in
            *" $source "*) set -- "$1" "$1.cdb" "$1.db" "$1.dir" "$1.lmdb" "$1.pag" ;;
        esac
        for name in "$@"; do
            if [ -e "$name" ] || [ -L "$name" ]; then
                say "$name"
            fi
        done
    done
}

# is_secret NAME - whether nobody may see what is in a file.
is_secret() {
    case " $SECRETS " in *" $1 "*) ;; *) return 1 ;; esac
}

# is_shared NAME - whether only marked lines of a file are ours.
is_shared() {
    case " $SHARED " in *" $1 "*) ;; *) return 1 ;; esac
}

# crossing_main_cf FROM TO DIRECTORY - print the main.cf on standard input with the tables in DIRECTORY, which are of type
# TO, in place of those of type FROM that have the same file names: there a change of types is bridged.
crossing_main_cf() {
    for name in $TABLES; do
        [ -f "$3/$name.db" ] || continue
        for path in "$PWD/$name" "$PWD/$PRIVATE/crossing.$1/$name"; do
            printf 's|%s\\([, ]\\)|%s\\1|g\ns|%s$|%s|\n' "$1:$path" "$2:$PWD/$PRIVATE/crossing.$2/$name" \
                "$1:$path" "$2:$PWD/$PRIVATE/crossing.$2/$name"
        done
    done >"$3/program" && sed -f "$3/program"
}

# live_digests - print "SHA256 NAME" for everything live_names finds.
live_digests() {
    # The names are ours and hold no blanks: splitting is wanted.
    # shellcheck disable=SC2046
    set -- $(live_names)
    [ $# -eq 0 ] || digest "$@"
}

# find_postfix DAEMONS QUEUE - set $daemons and $queue, the directories of this configuration's daemons and of its queue: as
# main.cf says, or else as compiled in, which the arguments are. postconf is asked only where main.cf says it in other
# words, as it costs more than everything else here.
find_postfix() {
    daemons=$1 queue=$2
    [ -f main.cf ] || return 0
    while read -r name equals value; do
        case $name in
            daemon_directory*) daemons=$(directory_in_main_cf daemon_directory "$name $equals $value" "$1") ;;
            queue_directory*) queue=$(directory_in_main_cf queue_directory "$name $equals $value" "$2") ;;
        esac
    done <main.cf
}

# directory_in_main_cf PARAMETER LINE DEFAULT - print what it is.
directory_in_main_cf() {
    value=${2#"$1 = "}
    case $value in
        /*[!A-Za-z0-9/._-]* | [!/]*) postconf -c "$PWD" -h "$1" 2>/dev/null || say "$3" ;;
        *) say "$value" ;;
    esac
}

# find_compiled_postfix - the same where nobody said yet what is compiled in.
find_compiled_postfix() {
    # Directories of Postfix hold no blanks: splitting is wanted.
    # shellcheck disable=SC2046
    find_postfix $(postconf -d -h daemon_directory queue_directory)
}

# master_runs - whether the master process of this configuration is running: it leaves its number in its queue, and works
# there. Where processes cannot be looked at it is asked (master(8), -t), which it cannot answer without a main.cf.
master_runs() {
    process='' command=''
    read -r process 2>/dev/null <"$queue/pid/master.pid" || :
    if [ -d "/proc/$$" ]; then
        read -r command 2>/dev/null <"/proc/${process:-none}/comm" || :
        # Every test(1) at hand has -ef, though POSIX did not before 2024.
        # shellcheck disable=SC3013
        [ "$command" = master ] && [ "/proc/$process/cwd" -ef "$queue" ]
    elif [ -f main.cf ]; then
        if "$daemons/master" -c "$PWD" -t >/dev/null 2>&1; then return 1; fi
    else
        is_process "$process" master
    fi
}

# is_bootstrapping - whether Postfix was installed by mailproxy here, and no change was ever confirmed.
is_bootstrapping() {
    [ -f "$PRIVATE/bootstrap" ]
}

# value_in FILE KEY - print what the first line "KEY VALUE" of a small file says; nothing where there is none. Read by
# the shell itself, as it is asked often.
value_in() {
    [ -f "$1" ] || return 0
    while read -r key value; do
        if [ "$key" = "$2" ]; then
            printf '%s\n' "$value"
            return 0
        fi
    done <"$1"
}

# lock_value KEY - print what the lock says of KEY (token, holder, since, pid); nothing without a lock.
lock_value() {
    value_in "$PRIVATE/lock" "$1"
}

# is_process PID TEXT - whether a process runs that has TEXT in its command line: its number may be somebody else's.
is_process() {
    kill -0 "${1:-none}" 2>/dev/null || return 1
    if [ -r "/proc/$1/cmdline" ]; then
        grep -q "$2" "/proc/$1/cmdline"
    else
        # Without -ww a BSD cuts what it shows at the width of a terminal.
        # shellcheck disable=SC2009
        ps -ww -p "$1" -o args= | grep -q "$2"
    fi
}

# is_at_work PID - whether a process is one of our programs. What loads them begins so (mailproxy/program.py).
is_at_work() {
    is_process "${1:-none}" "PRIVATE=$PRIVATE"
}

# lock_is_busy - whether a program of the lock's holder is running on this host at this moment.
lock_is_busy() {
    is_at_work "$(lock_value pid)"
}

# write_lock FILE TOKEN HOLDER - make a lock of this process beside the real one, and set $since, which it says.
write_lock() {
    since=$(date +%s)
    printf 'token %s\nholder %s\nsince %s\npid %s\n' "$2" "$3" "$since" "$$" >"$1"
}

# release_lock TOKEN - remove the lock if it is still ours.
release_lock() {
    if [ "$(lock_value token)" = "$1" ]; then
        rm -f "$PRIVATE/lock"
    fi
}

# clear_up [STAGE] - remove what programs left that were killed, but this stage; to be called by who holds the lock.
clear_up() {
    kept=${1:-} settling=''
    read -r settling 2>/dev/null <"$PRIVATE/settling" || :
    set -- "$PRIVATE"/stage.* "$PRIVATE"/settling.* "$PRIVATE"/*.new
    [ ! -f "$PRIVATE/settling" ] || is_at_work "$settling" || set -- "$@" "$PRIVATE/settling"
    [ -f "$PRIVATE/journal" ] || set -- "$@" "$PRIVATE/restore" "$PRIVATE"/crossing.*
    for leftover in "$@"; do
        shift
        [ ! -e "$leftover" ] || [ "$leftover" = "$kept" ] || set -- "$@" "$leftover"
    done
    [ $# -eq 0 ] || rm -rf "$@"
}

# note_in_syslog WORD... - leave a line in the host's mail log, with the instance that it is about.
note_in_syslog() {
    logger -t mailproxy -p mail.notice "$* ($PWD)" </dev/null >/dev/null 2>&1 || :
}
