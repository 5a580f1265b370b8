# shellcheck shell=sh
# NAME
#   needing.sh - whether what a mail service needs besides next hops answers this host
# SYNOPSIS
#   put between common.sh and the text of activate.sh or probe.sh; never run by itself
# DESCRIPTION
#   What is needed is told as dnsbl:ZONE, as the DNS knows it; inet:HOST:PORT, with an IPv6 address in brackets; or unix:PATH.

# needed_state NEEDED - print "answers", "silent REASON", or "unasked REASON" where this host has nothing to ask with.
needed_state() {
    case $1 in
        dnsbl:*) dnsbl_state "${1#dnsbl:}" ;;
        unix:*) if [ -S "${1#unix:}" ]; then echo answers; else echo 'silent there is no such socket'; fi ;;
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

# port_state HOST PORT - whether a port takes connections. Postfix's own client says that it has one before it waits for a
# greeting, which not everything has.
port_state() {
    if command -v posttls-finger >/dev/null; then
        case $1 in
            \[*:*) address="[ipv6:${1#\[}" ;;
            \[*) address=$1 ;;
            *) address="[$1]" ;;
        esac
        said=$(MAIL_CONFIG=$PWD posttls-finger -c -l none -L summary,verbose -t 3 -T 1 -- "$address:$2" 2>&1) || :
    elif command -v nc >/dev/null; then
        address=${1#\[}
        ! said=$(nc -w 3 "${address%\]}" "$2" </dev/null 2>&1) || said='Connected to it'
    else
        echo 'unasked this host has neither posttls-finger nor nc' && return
    fi
    case $said in
        *'Connected to '*) echo answers ;;
        *) printf 'silent %s\n' "$(printf '%s' "${said:-it does not take connections}" | sed -e '$!d' -e 's/^posttls-finger: //')" ;;
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
