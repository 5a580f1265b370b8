# shellcheck shell=sh
# NAME
#   common.sh - what every program of mailproxy on a host begins with
# SYNOPSIS
#   put before the text of another program; never run by itself
# DESCRIPTION
#   Sets a private umask, a fixed PATH and the C locale, and defines the functions below.
#   The managed files are named by "$FILES", relative to the configuration directory. A stage carries the token
#   of its run in its name: whatever else happens, two runs never mix what they stage.
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

FILES='main.cf mynetworks aliases relaydomains transport'
PRIVATE=.mailproxy

# fail STATUS WORD... - say why on standard error and end with STATUS.
fail() {
    status=$1
    shift
    printf 'mailproxy: %s\n' "$*" >&2
    exit "$status"
}

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
    $DIGEST "$@" | sed 's/^\([0-9a-f]*\) [ *]\{0,1\}/\1 /'
}

# live_names - print the managed files and indexed tables that exist here.
# The suffixes are those of hash and btree, lmdb, cdb, and dbm (two files).
live_names() {
    for name in $FILES aliases.db aliases.lmdb aliases.cdb aliases.dir aliases.pag \
        transport.db transport.lmdb transport.cdb transport.dir transport.pag; do
        if [ -e "$name" ] || [ -L "$name" ]; then
            printf '%s\n' "$name"
        fi
    done
}

# live_digests - print "SHA256 NAME" for everything live_names finds.
live_digests() {
    # The names are ours and hold no blanks: splitting is wanted.
    # shellcheck disable=SC2046
    set -- $(live_names)
    [ $# -eq 0 ] || digest "$@"
}

# daemon_directory COMPILED-IN - print where the daemons are: as main.cf says, or else as compiled in. postconf is
# asked only where main.cf mentions it, as it costs more than everything else here.
daemon_directory() {
    if [ -f main.cf ]; then
        while read -r line; do
            case $line in
                daemon_directory*) postconf -c "$PWD" -h daemon_directory 2>/dev/null && return ;;
            esac
        done <main.cf
    fi
    printf '%s\n' "$1"
}

# master_runs DAEMON-DIRECTORY - whether this configuration's master process is running (master(8), -t); the
# argument is the compiled-in place of the daemons.
master_runs() {
    ! "$(daemon_directory "$1")/master" -c "$PWD" -t >/dev/null 2>&1
}

# lock_value KEY - print what the lock says of KEY (token, holder, since, pid); nothing without a lock.
lock_value() {
    sed -n "s/^$1 //p" "$PRIVATE/lock" 2>/dev/null || :
}

# is_at_work PID - whether a process is one of our programs: after a reboot its number may be somebody else's.
is_at_work() {
    kill -0 "${1:-none}" 2>/dev/null || return 1
    if [ -r "/proc/$1/cmdline" ]; then
        grep -q "PRIVATE=$PRIVATE" "/proc/$1/cmdline"
    else
        # shellcheck disable=SC2009
        ps -p "$1" -o args= | grep -q "PRIVATE=$PRIVATE"
    fi
}

# lock_is_busy - whether a program of the lock's holder is running on this host at this moment.
lock_is_busy() {
    is_at_work "$(lock_value pid)"
}

# write_lock TOKEN HOLDER - make a lock file of this process beside the real one and print its name.
write_lock() {
    printf 'token %s\nholder %s\nsince %s\npid %s\n' "$1" "$2" "$(date +%s)" "$$" >"$PRIVATE/lock.$1"
    printf '%s\n' "$PRIVATE/lock.$1"
}

# release_lock TOKEN - remove the lock if it is still ours.
release_lock() {
    if [ "$(lock_value token)" = "$1" ]; then
        rm -f "$PRIVATE/lock"
    fi
}

# clear_up - remove what programs left that were killed; to be called by who holds the lock.
clear_up() {
    rm -rf "$PRIVATE"/stage.* "$PRIVATE"/lock.* "$PRIVATE"/settling.*
    if [ -f "$PRIVATE/settling" ] && ! is_at_work "$(cat "$PRIVATE/settling")"; then
        rm -f "$PRIVATE/settling"
    fi
    [ -f "$PRIVATE/journal" ] || rm -rf "$PRIVATE/restore"
}

# note_in_syslog WORD... - leave a line in the host's mail log, with the instance that it is about.
note_in_syslog() {
    logger -t mailproxy -p mail.notice "$* ($PWD)" </dev/null >/dev/null 2>&1 || :
}
