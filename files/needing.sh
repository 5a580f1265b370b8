# shellcheck shell=sh
# NAME
#   needing.sh - whether what a mail service needs besides next hops answers this host
# SYNOPSIS
#   put between common.sh and the text of activate.sh or probe.sh; never run by itself
# DESCRIPTION
#   What is needed is told as dnsbl:ZONE, as the DNS knows it; inet:HOST:PORT, with an IPv6 address in brackets; or unix:PATH,
#   as smtpd sees it. The programs that use it have set $queue.

# needed_state NEEDED - print "answers", "silent REASON", or "unasked REASON" where this host has nothing to ask with.
needed_state() {
    case $1 in
        dnsbl:*) dnsbl_state "${1#dnsbl:}" ;;
        unix:*) socket_state "${1#unix:}" ;;
        inet:*) place=${1#inet:} && port_state "${place%:*}" "${place##*:}" ;;
    esac
}

# dnsbl_state ZONE - every zone lists 127.0.0.2 (RFC 5782, 5). Asked by what this host asks: who runs a zone may answer
# the resolver of one host and not that of another, and says so by 127.255.255.x.
dnsbl_state() {
    command -v getent >/dev/null || { echo 'unasked this host has no getent' && return; }
    found=$(RES_OPTIONS='timeout:3 attempts:1' getent hosts "2.0.0.127.$1." 2>/dev/null) || :
    case $found in
        127.255.255.*) printf 'silent it says %s: it does not serve the resolver of this host\n' "${found%% *}" ;;
        127.*) echo answers ;;
        *) echo 'silent it does not list 127.0.0.2, as every zone does that is served (RFC 5782)' ;;
    esac
}

# socket_state PATH - whether a socket is where smtpd looks for it: below the queue, where it works, also by its whole path
# where it runs in a chroot there.
socket_state() {
    jail=$(awk '/^[^#]/ && $2 ~ /^(inet|pass)$/ && $8 == "smtpd" { print $5; exit }' master.cf)
    case $jail:$1 in
        y:/*) place=$queue$1 ;;
        *:/*) place=$1 ;;
        *) place=$queue/$1 ;;
    esac
    if [ -S "$place" ]; then echo answers; else printf 'silent there is no socket %s\n' "$place"; fi
}

# port_state HOST PORT - whether a port takes connections. Postfix's own client, which came with 2.11, says so where it does
# not; what it says of one that does not greet, as a milter does not, is no matter.
port_state() {
    command -v posttls-finger >/dev/null || { echo 'unasked this host has no posttls-finger' && return; }
    case $1 in
        \[*:*) address="[ipv6:${1#\[}" ;;
        \[*) address=$1 ;;
        *) address="[$1]" ;;
    esac
    said=$(MAIL_CONFIG=$PWD posttls-finger -c -l none -t 2 -T 1 -- "$address:$2" 2>&1) || :
    case $said in
        *'Failed to establish session'* | *'lookup failed'*)
            printf 'silent %s\n' "$(say "$said" | sed -e '$!d' -e 's/^posttls-finger: //' -e 's/^Failed .* via [^ ]*: //')"
            ;;
        *) echo answers ;;
    esac
}

# ask_needed - ask for each line of standard input; print "needed NEEDED STATE". In a shell of its own, as it waits for
# those that it starts and nobody else.
ask_needed() (
    while read -r needed; do
        { printf 'needed %s %s\n' "$needed" "$(needed_state "$needed")"; } </dev/null &
    done
    wait
)
