# shellcheck shell=sh
# NAME
#   queue.sh - what waits in the queue of this host's Postfix, and what is to become of it
# SYNOPSIS
#   queue.sh DIRECTORY list|flush|hold|release|requeue|delete < filters
# DESCRIPTION
#   DIRECTORY is the configuration directory of the instance; '' is the one that this Postfix was compiled for.
#   A message is chosen where all filters are met, lines of which each may be missing:
#     queue NAME...        it is in one of these: deferred (and what just came in), active, hold
#     sender ADDRESS       the sender, or the domain of it; MAILER-DAEMON is that of bounces
#     older SECONDS        it is that old, counted back from "until"
#     until SECONDS        it arrived until then (since 1970): what came later was in no list
#     domain DOMAIN, next_hop HOP, reason TEXT      one of its recipients is of that domain, goes there, waits for that
#   "rows NUMBER" is how many rows are wanted at the most. The last line is "end".
#   list prints, its words separated by tabs:
#     now SECONDS (since 1970)
#     total MESSAGES RECIPIENTS OTHERS SENDERS SECONDS ROWS: what is chosen; others are recipients of the same messages
#       that no filter means; seconds is the age of the oldest; rows counts also those that are left out
#     to DOMAINS NAME...: how many domains all these recipients are of, and those that have the most
#     row MESSAGES SECONDS QUEUE DOMAIN HOP REASON: the largest first. In a reason "#" stands for numbers and addresses
#     end; or "unreadable REASON", then end
#   The others act on what is chosen, by queue id, and print "acted NUMBER CHOSEN": the rest left the queue meanwhile.
#   An id may come to be another message's. So what is to be deleted is put on hold first, where nothing leaves,
#   and compared with what was chosen, by size, time and sender. What is another message then is released again.
#   The queue is read as it is printed, and only kept where it is told apart by what is printed here.
# EXIT STATUS
#   see common.sh: 0, 69

directory=$1 action=$2
tab='	'
newline='
'
ROUTING='transport_maps relayhost mydestination myhostname mydomain'
# How the first line of a message is read, in all versions: the id with the mark of its queue, the size, when it came, in
# local time and without a year, and the sender. Sets id, mark and message, which is all of it but the mark.
# A text for awk.
# shellcheck disable=SC2016
FIRST_LINE='
    function read_first_line() {
        id = $1; mark = ""
        if (match(id, /[*!#]+$/)) { mark = substr(id, RSTART); id = substr(id, 1, RSTART - 1) }
        sender = $0
        sub(/^[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ +/, "", sender)
        message = id "\t" $2 " " $3 " " $4 " " $5 " " $6 " " sender
    }
    function is_first_line() { return $0 ~ /^[0-9A-Za-z]+[*!#]* +[0-9]+ [A-Z][a-z][a-z] [A-Z][a-z][a-z] / }'

# asked_for WORD - print what the filters say of WORD.
asked_for() {
    say "$asked" | sed -n "s/^$1 //p"
}

# chosen rows|domains|messages - print of the messages that are chosen: total, to and rows, without next hops; or the
# domains of their recipients, each once; or a line of each, its id first. $hops has "hop DOMAIN TAB HOP" where that counts.
chosen() {
    { say "$asked" && say "$hops" && postqueue -c "$PWD" -p 2>&1; } | awk -v what="$1" -v now="$now" "$FIRST_LINE"'
        function days(year, month, day) {
            if (month < 3) { year--; month += 12 }
            return 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int((153 * month - 457) / 5) + day
        }
        function seconds(year, month, day, time,    part) {
            split(time, part, ":")
            return ((days(year, month, day) * 24 + part[1]) * 60 + part[2]) * 60 + part[3]
        }
        function age_of(month, day, time,    arrival) {
            month = (index("JanFebMarAprMayJunJulAugSepOctNovDec", month) + 2) / 3
            arrival = seconds(clock[2], month, day, time)
            if (arrival > at + 86400) arrival = seconds(clock[2] - 1, month, day, time)
            # One that says so is not of tomorrow, but of another daylight.
            return at - arrival - since
        }
        function is_code(word) { return word ~ /^[245][0-9][0-9]$/ || word ~ /^[245][0-9][0-9]-[245]\.[0-9]+\.[0-9]+$/ }
        function is_status(word) { return word ~ /^[245]\.[0-9]+\.[0-9]+$/ && word !~ /\.[0-9][0-9][0-9][0-9]/ }
        # condensed REASON - the same for all that differ in numbers and addresses alone; what a server answers stays.
        function condensed(reason,    words, count, each, text, word) {
            if (reason in known) return known[reason]
            text = reason
            gsub(/\[[0-9A-Fa-f:.]*\](:[0-9]+)?/, "", text)
            gsub(/<[^<> ]*>/, "<#>", text)
            count = split(text, words, " ")
            text = ""
            for (each = 1; each <= count; each++) {
                word = words[each]
                if (!is_status(word) && !(is_code(word) && (is_status(words[each + 1]) || words[each - 1] ~ /:$/ || word ~ /-/))) {
                    if (word ~ /@/ || (length(word) > 9 && word ~ /[0-9].*[^0-9].*[0-9]/ && word !~ /[.]/)) word = "#"
                    gsub(/[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*/, "#", word)
                    gsub(/[0-9]+(\.[0-9]+)*/, "#", word)
                }
                text = text (each > 1 ? " " : "") word
            }
            text = substr(text, 1, 300)
            if (kept++ < 20000) known[reason] = text
            return text
        }
        function is_from(sender,    domain) {
            if (wanted["sender"] == "" || tolower(sender) == wanted["sender"]) return 1
            domain = tolower(sender)
            return index(wanted["sender"], "@") == 0 && sub(/^.*@/, "", domain) && domain == wanted["sender"]
        }
        function goes_to(hop,    place, host) {
            hop = place = tolower(hop); sub(/^[^:[]*:/, "", place)
            host = place; sub(/:[^]:]*$/, "", host); gsub(/[][]/, "", host)
            return wanted["next_hop"] == hop || wanted["next_hop"] == place || wanted["next_hop"] == host
        }
        function is_meant(each) {
            if (wanted["domain"] != "" && wanted["domain"] != domains[each]) return 0
            if (wanted["next_hop"] != "" && !goes_to(hops[domains[each]])) return 0
            return wanted["reason"] == "" || index(tolower(reasons[each]), wanted["reason"]) > 0 ||
                index(tolower(condensed(reasons[each])), wanted["reason"]) > 0
        }
        # finish - what is to be said of the message that was read, which has all of its recipients now.
        function finish(    each, meant, any, key, seen) {
            if (id == "") return
            any = recipients == 0 && wanted["domain"] wanted["next_hop"] wanted["reason"] == ""
            if (index(wanted["queue"], " " place " ") && age >= wanted["older"] && age >= least && is_from(sender)) {
                for (each = 1; each <= recipients; each++) {
                    meant = is_meant(each)
                    any = any || meant
                    meaning[each] = meant
                }
                if (any && what == "messages") print message
                if (any && what != "messages") count_message()
            }
            id = ""
        }
        function count_message(    each, key, seen) {
            split("", seen)
            messages++
            if (age > oldest) oldest = age
            if (!(sender in senders)) { senders[sender]; distinct++ }
            if (recipients == 0) add("-", "")
            for (each = 1; each <= recipients; each++) {
                if (!(domains[each] in reached)) known_domains++
                reached[domains[each]]++
                if (!meaning[each]) { others++; continue }
                all++
                key = domains[each] "\t" condensed(reasons[each])
                if (!(key in seen)) { seen[key]; add(domains[each], condensed(reasons[each])) }
            }
        }
        function add(domain, reason,    key) {
            key = place "\t" domain "\t" reason
            if (!(key in rows)) groups++
            rows[key]++
            if (age > oldest_of[key]) oldest_of[key] = age
        }
        BEGIN {
            split(now, clock, " ")
            at = seconds(clock[2], clock[3], clock[4], clock[5])
            wanted["queue"] = " deferred active hold "; wanted["older"] = 0; since = 0; least = -86400
        }
        reading == "" {
            word = $1; value = substr($0, length(word) + 2)
            if (word == "end") reading = "hops"
            else if (word == "queue") wanted[word] = " " value " "
            else if (word == "until") { since = clock[1] - value; least = 0 }
            else if (word == "older") wanted[word] = value + 0
            else wanted[word] = tolower(value)
            next
        }
        reading == "hops" {
            if ($1 == "hop") { value = substr($0, 5); hops[substr(value, 1, index(value, "\t") - 1)] = substr(value, index(value, "\t") + 1); next }
            if ($0 == "") next
            reading = "queue"
        }
        /^-Queue ID-/ { next }
        /^-- [0-9]/ || /^Mail queue is empty/ { is_whole = 1; next }
        /^$/ { finish(); next }
        is_first_line() {
            finish()
            read_first_line()
            place = mark ~ /!/ ? "hold" : mark ~ /\*/ ? "active" : "deferred"
            age = age_of($4, $5, $6)
            recipients = 0; reason = ""
            next
        }
        /^ *\(.*\)$/ { reason = $0; sub(/^ *\(/, "", reason); sub(/\)$/, "", reason); next }
        /^ / && id != "" {
            domain = $0
            sub(/^ +/, "", domain); sub(/^.*@/, "", domain)
            domains[++recipients] = $0 ~ /@/ ? tolower(domain) : "-"
            reasons[recipients] = reason
            next
        }
        said == "" { said = $0 }
        END {
            finish()
            if (!is_whole) { print "unreadable\t" (said == "" ? "postqueue did not come to its end" : said); exit }
            if (what == "domains") { for (domain in reached) print domain; exit }
            if (what != "rows") exit
            printf "total\t%d\t%d\t%d\t%d\t%d\t%d\n", messages, all, others, distinct, oldest, groups
            printf "to\t%d", known_domains
            for (each = 1; each <= 3; each++) {
                most = ""
                for (domain in reached) if (most == "" || reached[domain] > reached[most]) most = domain
                if (most == "") break
                printf "\t%s", most
                delete reached[most]
            }
            printf "\n"
            for (key in rows) printf "row\t%d\t%d\t%s\n", rows[key], oldest_of[key], key
        }'
}

# next_hops DOMAINS - print "hop DOMAIN TAB HOP" for each of these lines: what the transport tables say, "local" where mail
# is delivered here, the relay host, or MX, as the DNS says.
next_hops() {
    # The names hold no blanks: splitting is wanted. postconf expands references to other parameters from 2.10 on.
    # shellcheck disable=SC2086
    settings=$({ postconf -c "$PWD" -x $ROUTING || postconf -c "$PWD" $ROUTING; } 2>/dev/null)
    # shellcheck disable=SC2020
    maps=$(say "$settings" | sed -n -e "s|\$config_directory|$PWD|g" -e 's/^transport_maps = *//p' | tr ', ' '\n\n')
    {
        say "$settings"
        for map in $maps; do
            say "$1" | awk '
                { print }
                { while (sub(/^[^.]*\./, "")) print "." $0 }
                END { print "*" }' | sort -u | postmap -c "$PWD" -q - "$map" 2>/dev/null | sed 's/^/found /' || :
        done
        say "$1" | sed 's/^/domain /'
    } | awk '
        function hop_of(domain,    parent) {
            if (domain in found) return found[domain]
            parent = domain
            while (sub(/^[^.]*\./, "", parent)) if (("." parent) in found) return found["." parent]
            if ("*" in found) return found["*"]
            if (domain in own) return "local"
            return setting["relayhost"] != "" ? setting["relayhost"] : "MX"
        }
        $2 == "=" && $1 != "found" && $1 != "domain" { setting[$1] = substr($0, length($1) + 4); next }
        $1 == "found" {
            key = substr($0, 7); value = key
            sub(/\t.*/, "", key); sub(/^[^\t]*\t/, "", value); gsub(/\t/, " ", value)
            if (!(key in found)) found[key] = value
            next
        }
        !is_told {
            is_told = 1
            list = setting["mydestination"]
            gsub(/[$][{(]?myhostname[)}]?/, setting["myhostname"], list)
            gsub(/[$][{(]?mydomain[)}]?/, setting["mydomain"], list)
            count = split(list, words, /[, ]+/)
            for (each = 1; each <= count; each++) own[tolower(words[each])]
        }
        $1 == "domain" && $2 != "" { print "hop " $2 "\t" ($2 == "-" ? "-" : hop_of($2)) }'
}

# list - print what waits.
list() {
    listed=$(chosen rows)
    most=$(asked_for rows)
    rows=$(say "$listed" | sed -n "/^row$tab/p" | sort -t "$tab" -k 2,2nr -k 3,3nr -k 4 | awk -v most="${most:-200}" 'NR <= most')
    hops=$(next_hops "$(say "$rows" | cut -f 5 | sort -u)")
    printf 'now\t%s\n' "${now%% *}"
    say "$listed" | sed "/^row$tab/d"
    { say "$hops" && say "$rows"; } | awk '
        BEGIN { FS = OFS = "\t" }
        /^hop / { hops[substr($1, 5)] = $2; next }
        /^row\t/ { print $1, $2, $3, $4, $5, hops[$5], $6 }'
}

# by_id OPTION [QUEUE] - have postsuper do that with the messages whose ids are on standard input, in that queue alone, and
# print with how many it did: of one that is not there any more it says nothing.
by_id() {
    postsuper -c "$PWD" "$1" - ${2:+"$2"} 2>&1 >/dev/null | awk '
        /^postsuper: [A-Z][a-z ]*: [0-9]+ messages?$/ { count += $(NF - 1) }
        /fatal: / { reason = $0 }
        END { print count + 0, reason }'
}

# delete - delete the messages of $messages, on standard output how many.
delete() {
    say "$messages" | cut -f 1 | by_id -h >/dev/null
    found=$({ say "$messages" | sed "s/^/was$tab/" && postqueue -c "$PWD" -p; } | awk "$FIRST_LINE"'
        /^was\t/ { was[substr($0, 5)]; split($0, part, "\t"); ids[part[2]]; next }
        is_first_line() {
            read_first_line()
            if (mark ~ /!/ && id in ids) print (message in was ? "same" : "other"), id
        }
        /^-- [0-9]/ || /^Mail queue is empty/ { print "whole" }')
    case $newline$found$newline in
        *"${newline}whole$newline"*) ;;
        *) say '0 the queue could not be read again: what was chosen is on hold now, and nothing is deleted' && return ;;
    esac
    others=$(say "$found" | sed -n 's/^other //p')
    [ -z "$others" ] || say "$others" | by_id -H hold >/dev/null
    say "$found" | sed -n 's/^same //p' | by_id -d hold
}

# flush - have delivery of the messages of $messages tried at once.
flush() {
    case $asked in
        *domain* | *next_hop* | *sender* | *older* | *reason*) ;;
        *)
            reason=$(postqueue -c "$PWD" -f 2>&1) || { say "0 $reason" && return; }
            say "$messages" | awk 'END { print NR }'
            return
            ;;
    esac
    say "$messages" | cut -f 1 | {
        count=0 reason=''
        while read -r id; do
            # One that has left meanwhile is no mistake.
            if said=$(postqueue -c "$PWD" -i "$id" 2>&1 </dev/null); then count=$((count + 1)); else reason=$said; fi
        done
        [ "$count" = 0 ] || reason=''
        say "$count $reason"
    }
}

# act - do with what is chosen what was asked for.
act() {
    # Begun on one message it goes on to the last, even when the connection is gone.
    trap '' HUP INT TERM PIPE
    messages=$(chosen messages)
    case $messages in
        unreadable*) fail 69 "the queue cannot be read: ${messages#*"$tab"}; nothing was touched" ;;
        '') echo 'acted 0 0' && return ;;
    esac
    messages=$(say "$messages" | sed "/^unreadable$tab/d")
    number=$(say "$messages" | awk 'END { print NR }')
    case $action in
        flush) acted=$(flush) ;;
        hold) acted=$(say "$messages" | cut -f 1 | by_id -h) ;;
        release) acted=$(say "$messages" | cut -f 1 | by_id -H) ;;
        requeue) acted=$(say "$messages" | cut -f 1 | by_id -r) ;;
        delete) acted=$(delete) ;;
        *) fail 64 "asked to $action, expected list, flush, hold, release, requeue or delete" ;;
    esac
    [ "${acted% }" = "${acted%% *}" ] || fail 69 "${acted#* }; of $number messages ${acted%% *} were reached"
    printf 'acted %s %s\n' "${acted%% *}" "$number"
}

# unreadable REASON - end, as nothing can be said of this host.
unreadable() {
    [ "$action" = list ] || fail 69 "$1; nothing was touched"
    printf 'unreadable\t%s\nend\n' "$1"
    exit 0
}

asked=$(cat)
[ -n "$directory" ] || directory=$(postconf -d -h config_directory 2>/dev/null) ||
    unreadable "found no postconf in $PATH: is Postfix installed?"
cd "$directory" 2>/dev/null || unreadable "cannot enter the configuration directory $directory"
now=$(date '+%s %Y %m %d %H:%M:%S')
hops=''
if [ -n "$(asked_for next_hop)" ]; then
    wanted=$asked
    asked=$(say "$asked" | sed '/^next_hop /d')
    hops=$(next_hops "$(chosen domains)")
    asked=$wanted
fi
if [ "$action" = list ]; then
    # The way back to the controller carries only UTF-8 lines.
    list | tr -c '\11\12\40-\176' '?'
    echo end
else
    act
fi
