# shellcheck shell=sh
# NAME
#   enter.sh - be root, or find the way to be
# SYNOPSIS
#   put before the text of every program; never run by itself
#   enter.sh LOADER yes|no record|error < [password] the program's input
# DESCRIPTION
#   Run by whoever is logged in. LOADER is the text of mailproxy.program that reads a program from standard input and
#   runs it. Root goes on at once; for anybody else doas or sudo begins anew as root, whichever permits exactly
#   "/bin/sh -c LOADER". With "yes" the first line of the input is a password for sudo, which gets into no argument, no
#   variable of an environment and no file.
#   doas comes first: of whom it does not know it keeps a record, where sudo sends a mail.
#   Where there is no way it says so: with "record" as observe.sh says what it cannot read, else on standard error.
# EXIT STATUS
#   that of the program; where there is no way 69, or 0 with "record"

# No set -eu: a refusal is an answer here.
loader=$1 has_password=$2 manner=$3
# As the loader left them: what it read first, and all of this text.
reader=${line-} program=${text-}
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin:/usr/pkg/sbin:/usr/pkg/bin
LC_ALL=C
export PATH LC_ALL

# in_vain REASON - end, as there is no way.
in_vain() {
    reason="logged in as $(id -un), expected root, or one that doas or sudo lets run our programs (docs/ssh.md): $1"
    if [ "$manner" = record ]; then
        printf 'unreadable %s\nend\n' "$reason"
        exit 0
    fi
    printf 'mailproxy: %s\n' "$reason" >&2
    exit 69
}

# say TEXT - print it; by the shell itself, as everybody sees the arguments of a program.
say() {
    if [ "$(command -v printf)" = printf ]; then
        printf '%s\n' "$1"
    else
        print -r -- "$1"
    fi
}

say_password() {
    say "$password"
}

# say_all - print what has arrived so far, and what still comes. The password is not for the program.
say_all() {
    say mailproxy-begins && say "$reader" && say "${program%?}" || return
    [ "$has_password" = no ] || echo
    exec cat
}

# permits INPUT WORD... - whether "WORD..." would run the loader: here it finds nothing to run, only what INPUT prints.
# What is said against it is kept.
permits() {
    input=$1
    shift
    said=$("$input" | "$@" /bin/sh -c "$loader" 2>&1 >/dev/null) && return 0
    # Not all that sudo tells whom it meets for the first time.
    said=$(printf '%s\n' "$said" | grep -e sudo -e doas -e allowed | tr '\n' ' ')
    refused="${refused:+$refused; }${said:-$1 gives no reason}"
    return 1
}

# become_root - have all of this run by doas or sudo.
become_root() {
    refused=
    if command -v doas >/dev/null && permits : doas -n; then
        say_all | doas -n /bin/sh -c "$loader"
    elif ! command -v sudo >/dev/null; then
        in_vain "${refused:-found neither}"
    elif [ "$has_password" = no ]; then
        permits : sudo -n || in_vain "$refused"
        say_all | sudo -n /bin/sh -c "$loader"
    else
        # Tried first, as sudo would take what follows a wrong password for further ones. With -k it neither looks for a
        # record of an earlier one nor leaves one.
        permits say_password sudo -k -S -p '' || in_vain "$refused"
        { say_password && say_all; } | sudo -k -S -p '' /bin/sh -c "$loader"
    fi
    exit
}

# If the caller had a variable of that name, it would be in the environment.
unset password
[ "$has_password" = no ] || IFS= read -r password
[ "$(id -u)" = 0 ] || become_root
unset password
