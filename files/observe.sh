# shellcheck shell=sh
# NAME
#   observe.sh - print the state of this host's Postfix that a plan needs
# SYNOPSIS
#   observe.sh < expectation
# DESCRIPTION
#   Reads lines "want NAME SHA256" (a file whose content need not be sent when its digest is this)
#   and "user NAME" (an account that aliases lead to). Changes nothing and writes no file.
#   Prints one record a line, the last one being "end":
#     uid N; version V; config_directory PATH; default PARAMETER VALUE (compiled in);
#     default_database_type TYPE; table_types TYPE...; running yes|no; now SECONDS (since 1970);
#     file NAME SHA256 MODE UID GID; odd NAME MODE (not a regular file);
#     content NAME text|hex, followed by its lines, each behind "|"; nouser NAME;
#     manifest LINE; journal LINE; lock LINE; lock_busy yes|no
#   Where the host cannot be read: "unreadable REASON", then "end".
# EXIT STATUS
#   0 in every case in which the output is complete

unreadable() {
    printf 'unreadable %s\nend\n' "$*"
    exit 0
}

# content NAME - print a file byte for byte. Lines as they are when they are printable ASCII and the last
# one ends in a newline; else in hexadecimal, as the way back to the controller carries only UTF-8 lines.
content() {
    if [ -z "$(tr -d '\11\12\40-\176' <"$1" | od -An -v -tx1)" ] &&
        [ "$(tail -c 1 "$1" | od -An -tx1 | tr -d ' ')" = 0a ]; then
        printf 'content %s text\n' "$1"
        sed 's/^/|/' "$1"
    else
        printf 'content %s hex\n' "$1"
        od -An -v -tx1 "$1" | sed 's/^/|/'
    fi
}

# defaults - print the compiled-in values, which a broken main.cf cannot hide.
defaults() {
    postconf -d mail_version config_directory inet_interfaces inet_protocols parent_domain_matches_subdomains |
        sed -e 's/ = / /' -e 's/^mail_version /version /' -e '/^version /b' -e '/^config_directory /b' -e 's/^/default /'
}

# files - print a record for every managed file and table.
files() {
    # shellcheck disable=SC2046
    set -- $(live_names)
    [ $# -gt 0 ] || return 0
    regular=
    for name; do
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
        digest "$@"
        # shellcheck disable=SC2012
        ls -ldn "$@"
    } | awk 'NF == 2 { sum[$2] = $1; next } { print "file", $NF, sum[$NF], substr($1, 1, 10), $3, $4 }'
}

# prefixed WORD FILE - print the lines of FILE, if there is one, each behind WORD.
prefixed() {
    [ ! -f "$2" ] || sed "s/^/$1 /" "$2"
}

command -v postconf >/dev/null || unreadable "found no postconf in $PATH: is Postfix installed?"
uid=$(id -u)
[ "$uid" = 0 ] || unreadable "runs as uid $uid, expected root: connect as root, or set _sudo or _doas"
found=$(defaults) || unreadable 'postconf -d failed'
directory=$(printf '%s\n' "$found" | sed -n 's/^config_directory //p')
case $directory in
    '' | *[!A-Za-z0-9/._-]*) unreadable "configuration directory '$directory', expected a plain path" ;;
esac
cd "$directory" 2>/dev/null || unreadable "cannot enter the configuration directory $directory"

printf 'uid %s\nnow %s\n%s\n' "$uid" "$(date +%s)" "$found"
printf 'default_database_type %s\n' \
    "$(postconf -c "$PWD" -h default_database_type 2>/dev/null || postconf -d -h default_database_type)"
printf 'table_types %s\n' "$(postconf -m | tr '\n' ' ')"
if master_runs; then echo 'running yes'; else echo 'running no'; fi
records=$(files)
printf '%s\n' "$records"

wanted=
while IFS=' ' read -r word name value; do
    case $word in
        want) wanted="$wanted $name=$value" ;;
        user) id -u -- "$name" >/dev/null 2>&1 || printf 'nouser %s\n' "$name" ;;
    esac
done
printf '%s\n' "$records" | while read -r word name sum _; do
    case "$word $name" in
        'file main.cf' | 'file mynetworks' | 'file aliases' | 'file relaydomains' | 'file transport')
            case "$wanted " in
                *" $name=$sum "*) ;;
                *) content "$name" ;;
            esac
            ;;
    esac
done
prefixed manifest "$PRIVATE/manifest"
prefixed journal "$PRIVATE/journal"
prefixed lock "$PRIVATE/lock"
if lock_is_busy; then echo 'lock_busy yes'; else echo 'lock_busy no'; fi
echo end
