# shellcheck shell=sh
# NAME
#   probing.sh - what a host can tell of its own mail service: what its tables answer, whether next hops do, its queue
# SYNOPSIS
#   put between common.sh and the text of activate.sh, settle.sh or probe.sh; never run by itself
# DESCRIPTION
#   The programs that use it define records WORD, which prints the arguments of the records of that kind:
#   query TYPE NAME KEY hit VALUE, query TYPE NAME KEY miss, and hop DESTINATION. They have set $queue.

# wrong_answers TYPE NAME [all] - print each key for which a live table does not answer as intended, and what it does
# answer; nothing where all is right. One process asks for all of them. With "all" those count too that are to find nothing.
# The records come on standard input.
wrong_answers() {
    wanted=$(sed -n "s/^$1 $2 //p")
    {
        say "$wanted" | sed 's/ .*//' | postmap -c "$PWD" -q - "$1:$PWD/$2" 2>&1 || :
        say "$wanted"
    } | awk -v misses="${3:-}" '
        / (hit .*|miss)$/ && !/\t/ {
            key = $1; meant = substr($0, length(key) + 2); is = (key in found) ? "hit " found[key] : "miss"
            if (is == meant || (meant == "miss" && !misses)) next
            sub(/^hit /, "", is); sub(/^hit /, "", meant); sub(/^miss$/, "nothing", is); sub(/^miss$/, "nothing", meant)
            print key " finds " is ", expected " meant
            next
        }
        !/\t/ { print; next }
        { key = $0; sub(/\t.*/, "", key); found[key] = substr($0, length(key) + 2) }'
}

# tables_asked - print TYPE NAME of each table that there are queries for on standard input.
tables_asked() {
    awk '!seen[$1 " " $2]++ { print $1, $2 }'
}

# ask_hop DESTINATION - print "hop DESTINATION answers", "... silent REASON", or "... unasked REASON" where this host has
# nothing to ask it with. Postfix's own client for trying out connections sends no mail; before 2.11 there is none.
ask_hop() {
    said='' place=${1#lmtp:} protocol=''
    [ "$place" = "$1" ] || protocol=-S
    case $place in
        unix:*) [ -S "${place#unix:}" ] || said="there is no socket ${place#unix:}" ;;
        *)
            if command -v posttls-finger >/dev/null; then
                # Nothing is said of one that answers. The option is one word or none.
                # shellcheck disable=SC2086
                said=$(MAIL_CONFIG=$PWD posttls-finger $protocol -c -l none -t 5 -T 10 -- "$place" 2>&1)
                # Its last line.
                said=${said##*"
"}
                said=${said#posttls-finger: }
            else
                ask_by_netcat "$place" || return 0
            fi
            ;;
    esac
    if [ -z "$said" ]; then
        printf 'hop %s answers\n' "$1"
    else
        printf 'hop %s silent %s\n' "$1" "$said"
    fi
}

# ask_by_netcat DESTINATION - set $said; fail, having printed why, where that cannot be done.
ask_by_netcat() {
    address=${1#\[} port=${1##*\]}
    address=${address%%\]*} port=${port#:}
    case $1 in
        \[*) ;;
        *) printf 'hop %s unasked this host has no posttls-finger to look up its MX\n' "$1" && return 1 ;;
    esac
    if ! command -v nc >/dev/null; then
        printf 'hop %s unasked this host has neither posttls-finger nor nc\n' "$1" && return 1
    fi
    greeting=$({ sleep 2 && printf 'QUIT\r\n'; } | nc -w 5 "${address#ipv6:}" "${port:-25}" 2>&1 | head -n 1)
    case $greeting in
        220*) ;;
        *) said=${greeting:-it did not greet} ;;
    esac
}

# ask_hops - ask each next hop of the records, some at a time.
ask_hops() {
    records hop | {
        count=0
        while read -r hop; do
            ask_hop "$hop" </dev/null &
            count=$((count + 1))
            [ $((count % 10)) -ne 0 ] || wait
        done
        wait
    }
}

# deferred_messages - print how many messages wait for another try.
deferred_messages() {
    set -- "$queue"/deferred/*
    first=$1
    set -- "$queue"/deferred/*/*
    if [ -f "$first" ] || [ -d "$1" ]; then
        # Not as deep as usual, or deeper (hash_queue_depth).
        echo $(($(find "$queue/deferred" -type f 2>/dev/null | wc -l)))
    elif [ "$1" = "$queue/deferred/*/*" ]; then
        echo 0
    else
        echo $#
    fi
}
