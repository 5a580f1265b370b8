# shellcheck shell=sh
# NAME
#   lingering.sh - who still needs the routes of removed domains: what is queued, and SMTP sessions from before
# SYNOPSIS
#   put between common.sh and the text of activate.sh; never run by itself
# DESCRIPTION
#   $stage is the directory of the change; its files "gone" and "moved" name the keys of routes, "sessions" the processes that talked to
#   clients when it was to be read.

# queued_for gone|moved - print how many recipients the queue holds for these routes, "unknown" where it cannot be read.
queued_for() {
    [ -s "$stage/$1" ] || { echo 0 && return; }
    postqueue -c "$PWD" -p >"$stage/queue" || { echo unknown && return; }
    awk -v routes="$stage/$1" '
        BEGIN { while ((getline key <routes) > 0) wanted[key] }
        /^ +[^ (].*@/ {
            address = tolower($0); gsub(/^ +|[ \t]*$/, "", address)
            domain = address; sub(/.*@/, "", domain)
            found = address in wanted || domain in wanted
            while (!found && sub(/^[^.]*\./, "", domain)) found = ("." domain) in wanted
            count += found
        }
        END { print count + 0 }' "$stage/queue"
}

# smtpd_processes - print the numbers of the processes that talk to clients; those of other instances know nothing of
# this change. Whose master has died may be anybody's.
smtpd_processes() {
    master=$queue/pid/master.pid
    [ -f "$master" ] || return 0
    { ps -A -o pid= -o ppid= -o comm= 2>/dev/null || ps -o pid,ppid,comm; } |
        awk -v master="$(tr -d ' ' <"$master")" '($2 == master || $2 == 1) && $3 ~ /(^|\/)smtpd$/ { print $1 }'
}

# still_running - print how many of those that were noted are there still.
still_running() {
    count=0
    while read -r process; do
        ! kill -0 "$process" 2>/dev/null || count=$((count + 1))
    done <"$stage/sessions"
    echo "$count"
}

# open_sessions - print how many of the processes that served before still do, after a while: a session goes on with
# what was accepted when it began. Those that wait for a client end at once.
open_sessions() {
    [ -s "$stage/gone" ] || { echo 0 && return; }
    tries=5
    while open=$(still_running) && [ "$open" != 0 ] && [ "$tries" != 0 ]; do
        tries=$((tries - 1))
        sleep 1
    done
    echo "$open"
}
