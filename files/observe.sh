# shellcheck shell=sh
# NAME
#   observe.sh - print the state of this host's Postfix that a plan needs
# SYNOPSIS
#   observe.sh < expectation
# DESCRIPTION
#   Reads lines "want NAME SHA256" (a file whose content need not be sent when its digest is this), "user NAME" (an
#   account that aliases lead to) and "types" (the table types are needed). Changes nothing and writes no file.
#   Prints one record a line, the last one being "end":
#     default PARAMETER = VALUE (as compiled in); table_types TYPE...; running yes|no; nouser NAME;
#     file NAME SHA256 MODE UID GID; odd NAME MODE (not a regular file);
#     content NAME text|hex, followed by its lines, each behind "|";
#     manifest LINE; journal LINE; lock LINE; lock_busy yes|no; now SECONDS (since 1970; with a lock)
#   Where the host cannot be read: "unreadable REASON", then "end".
#   It runs on every host in every run, so it starts as few processes as it can.
# EXIT STATUS
#   0 in every case in which the output is complete

unreadable() {
    printf 'unreadable %s\nend\n' "$*"
    exit 0
}

# content NAME - print a file byte for byte. Lines as they are when they are printable ASCII and the last
# one ends in a newline; else in hexadecimal, as the way back to the controller carries only UTF-8 lines.
content() {
    name=$1
    # What is not printable, and the last byte: of a plain text that is the newline and nothing else.
    # shellcheck disable=SC2046
    set -- $({ tr -d '\11\12\40-\176' <"$name" && tail -c 1 "$name"; } | od -An -v -tx1)
    if [ "$*" = 0a ]; then
        printf 'content %s text\n' "$name"
        sed 's/^/|/' "$name"
    else
        printf 'content %s hex\n' "$name"
        od -An -v -tx1 "$name" | sed 's/^/|/'
    fi
}

# files - print a record for every managed file and table.
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
    # shellcheck disable=SC2086
    set -- $regular
    [ $# -gt 0 ] || return 0
    {
        $DIGEST "$@"
        # shellcheck disable=SC2012
        ls -ldn "$@"
    } | awk '
        NF == 2 { sub(/^\*/, "", $2); sum[$2] = $1; next }
        { print "file", $NF, sum[$NF], substr($1, 1, 10), $3, $4 }'
}

# prefixed WORD FILE - print the lines of FILE, if there is one, each behind WORD.
prefixed() {
    [ ! -f "$2" ] || sed "s/^/$1 /" "$2"
}

command -v postconf >/dev/null || unreadable "found no postconf in $PATH: is Postfix installed?"
uid=$(id -u)
[ "$uid" = 0 ] || unreadable "runs as uid $uid, expected root: connect as root, or set _sudo or _doas"
# Compiled in, so that a broken main.cf hides nothing.
defaults=$(postconf -d mail_version config_directory daemon_directory default_database_type \
    inet_interfaces inet_protocols parent_domain_matches_subdomains) || unreadable "postconf -d failed: $(postconf -d mail_version 2>&1 | tr '\n' ' ')"
newline='
'
directory=${defaults#*config_directory = }
directory=${directory%%"$newline"*}
daemons=${defaults#*daemon_directory = }
daemons=${daemons%%"$newline"*}
case $directory in
    '' | *[!A-Za-z0-9/._-]*) unreadable "configuration directory '$directory', expected a plain path" ;;
esac
cd "$directory" 2>/dev/null || unreadable "cannot enter the configuration directory $directory"

printf 'default %s\n' "${defaults%%"$newline"*}"
while [ "$defaults" != "${defaults#*"$newline"}" ]; do
    defaults=${defaults#*"$newline"}
    printf 'default %s\n' "${defaults%%"$newline"*}"
done
if master_runs "$daemons"; then echo 'running yes'; else echo 'running no'; fi
records=$(files)
printf '%s\n' "$records"

wanted=
while IFS=' ' read -r word name value; do
    case $word in
        want) wanted="$wanted $name=$value" ;;
        user) id -u -- "$name" >/dev/null 2>&1 || printf 'nouser %s\n' "$name" ;;
        types) printf 'table_types %s\n' "$(postconf -m | tr '\n' ' ')" ;;
    esac
done
# A record of a file holds no blanks but those between its words: splitting is wanted.
# shellcheck disable=SC2086
set -- $records
while [ $# -gt 1 ]; do
    case "$1 $2" in
        'file main.cf' | 'file mynetworks' | 'file aliases' | 'file relaydomains' | 'file transport')
            case "$wanted " in
                *" $2=$3 "*) ;;
                *) content "$2" ;;
            esac
            ;;
    esac
    shift
done
prefixed manifest "$PRIVATE/manifest"
prefixed journal "$PRIVATE/journal"
if [ -f "$PRIVATE/lock" ]; then
    prefixed lock "$PRIVATE/lock"
    if lock_is_busy; then echo 'lock_busy yes'; else echo 'lock_busy no'; fi
    date '+now %s'
fi
echo end
