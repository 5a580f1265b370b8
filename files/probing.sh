# shellcheck shell=sh
# NAME
#   probing.sh - what a host can tell of its own mail service: what its tables answer, whether next hops do, its queue
# SYNOPSIS
#   put between common.sh and the text of activate.sh, settle.sh or probe.sh; never run by itself
# DESCRIPTION
#   Queries are lines TYPE NAME KEY hit VALUE, or TYPE NAME KEY miss. The programs that use it have set $queue.

# wrong_answers [all] - of the queries on standard input print "NAME: KEY finds VALUE, expected VALUE" for each that a live
# table does not answer as intended; nothing where all is right. With "all" those count too that are to find nothing.
# For each table one process is asked all of them; its answers, "KEY TAB VALUE", come behind a line that begins with a tab.
wrong_answers() {
    awk -v place="$PWD" '
        {
            table = $1 ":" place "/" $2
            if (!(table in count)) { tables[++number] = table; name[table] = $2 }
            key[table, ++count[table]] = $3
            meant[table, count[table]] = substr($0, length($1 $2) + 3)
        }
        END {
            for (each = 1; each <= number; each++) {
                table = tables[each]
                asker = "postmap -c " place " -q - " table " 2>&1 || :"
                print "\t" name[table]; fflush()
                for (line = 1; line <= count[table]; line++) print key[table, line] | asker
                close(asker)
                for (line = 1; line <= count[table]; line++) print meant[table, line]
            }
        }' | awk -v misses="${1:-}" '
        /^\t/ { name = substr($0, 2); split("", found); next }
        / (hit .*|miss)$/ && !/\t/ {
            key = $1; meant = substr($0, length(key) + 2); is = (key in found) ? "hit " found[key] : "miss"
            if (is == meant || (meant == "miss" && !misses)) next
            sub(/^hit /, "", is); sub(/^hit /, "", meant); sub(/^miss$/, "nothing", is); sub(/^miss$/, "nothing", meant)
            print name ": " key " finds " is ", expected " meant
            next
        }
        !/\t/ { print name ": " $0; next }
        { key = $0; sub(/\t.*/, "", key); found[key] = substr($0, length(key) + 2) }'
}

# ask_hop DESTINATION - print "hop DESTINATION answers", with the SIZE that it announces (RFC 1870) where that is a number,
# "... silent REASON", or "... unasked REASON" where this host has nothing to ask it with. Postfix's own client for trying
# out connections sends no mail; before 2.11 there is none.
ask_hop() {
    place=${1#lmtp:} protocol='' greets=EHLO
    [ "$place" = "$1" ] || protocol=-S greets=LHLO
    case $place in
        unix:*) if [ -S "${place#unix:}" ]; then said=answers; else said="silent there is no socket ${place#unix:}"; fi ;;
        *)
            if command -v posttls-finger >/dev/null; then
                # The option is one word or none.
                # shellcheck disable=SC2086
                said=$(MAIL_CONFIG=$PWD posttls-finger $protocol -l none -t 5 -T 10 -- "$place" 2>&1 | what_was_said)
            else
                said=$(ask_by_netcat "$place" "$greets")
            fi
            ;;
    esac
    printf 'hop %s %s\n' "$1" "$said"
}

# what_was_said - print "answers" and the SIZE, or "silent REASON", for the replies of a server on standard input, and what
# the client says besides. It goes on to the next address where one does not answer: that counts only when none does.
what_was_said() {
    awk '
        { sub(/\r$/, ""); sub(/^posttls-finger: /, ""); sub(/^< /, "") }
        /^> / || /^Connected to / { next }
        /^250[- ]/ { answers = 1 }
        toupper($0) ~ /^250[- ]SIZE [0-9]+ *$/ { size = $2 ~ /^[0-9]/ ? $2 : $3 }
        /^[45][0-9][0-9][- ]/ && !refusal { refusal = $0 }
        !/^[0-9][0-9][0-9][- ]/ && $0 != "" { said = $0 }
        END {
            if (answers) print size == "" ? "answers" : "answers " size
            else print "silent " (said ? said : refusal ? refusal : "it did not greet")
        }'
}

# ask_by_netcat DESTINATION EHLO|LHLO - print what ask_hop does, without "hop DESTINATION".
ask_by_netcat() {
    address=${1#\[} port=${1##*\]}
    address=${address%%\]*} port=${port#:}
    case $1 in
        \[*) ;;
        *) echo 'unasked this host has no posttls-finger to look up its MX' && return ;;
    esac
    command -v nc >/dev/null || { echo 'unasked this host has neither posttls-finger nor nc' && return; }
    name=$(postconf -c "$PWD" -h myhostname 2>/dev/null) || name=localhost
    { sleep 1 && printf '%s %s\r\n' "$2" "$name" && sleep 1 && printf 'QUIT\r\n'; } |
        nc -w 5 "${address#ipv6:}" "${port:-25}" 2>&1 | what_was_said
}

# ask_hops - ask each next hop, a line of standard input, some at a time. In a shell of its own, as it waits for them and
# nobody else.
ask_hops() (
    count=0
    while read -r hop; do
        ask_hop "$hop" </dev/null &
        count=$((count + 1))
        [ $((count % 10)) -ne 0 ] || wait
    done
    wait
)

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
