# shellcheck shell=sh
# NAME
#   activate.sh - put the staged change in place of the live files, or put everything back
# SYNOPSIS
#   activate.sh DIRECTORY TOKEN DAEMONS QUEUE SECONDS
# DESCRIPTION
#   DAEMONS and QUEUE are the directories of daemons and queue that are compiled in.
#   Works off the records that stage.sh kept in .mailproxy/stage.TOKEN/change, in their order: "cross FROM TO" has
#   Postfix read the tables from elsewhere until the reload, "swap STAGED NAME" renames a staged file into place,
#   "service none|reload|restart|start|stop" makes Postfix read it, "drop NAME" removes a file that nothing uses any
#   more, and "release NAME" says of one that stays that it is not managed any more. Then it asks the live tables what
#   the file "query" says, the next hops of the change (the file "hop") and what else it needs (the file "needed").
#   Before the first rename the live files are copied to .mailproxy/generations/N and the journal says so; where a
#   journal is there already, an earlier change was not brought to its end, and its generation is the one to go back to.
#   The journal, and the lock, stay until settle.sh confirms the change. Where SECONDS is not 0 a watcher, a process of
#   its own, puts the generation back when that does not happen within so many seconds.
#   Once begun it goes on to its end, success or restoration, even when the connection is gone.
#   Prints lines for people, "hop ..." as probing.sh has them, and "needed ..." as needing.sh has them.
# EXIT STATUS
#   see common.sh: 0, 10, 11, 13, 14, 15, 64

directory=$1 token=$2 compiled_daemons=$3 compiled_queue=$4 seconds=$5
stage=$PRIVATE/stage.$token
scratch=$stage
newline='
'

# read_change - set what the change says: $service, $crossing (the types), $notes (lines of the journal), $staged (what is
# renamed into place), $changed (the names that are replaced or go), $told (commit and review, in words) and $by_hand (yes
# where what is to be live was made by hand).
read_change() {
    service='' crossing='' notes='' staged='' changed='' told='' by_hand=''
    while read -r word one two; do
        case $word in
            service) service=$one ;;
            cross) crossing="$one $two" ;;
            note) notes="$notes$word $one${two:+ $two}$newline" ;;
            swap) staged="$staged $one" changed="$changed $two" ;;
            drop) changed="$changed $one" ;;
            by-hand) by_hand=yes ;;
            record)
                case $one in commit | review) told="$told, $one $two" ;; esac
                ;;
        esac
    done <"$stage/change"
}

# refuse_unless_ready - the stage must be ours and checked, and the live files as the review saw them. Leaves the digests
# of what is staged in the file "sums": what a later look finds otherwise is somebody's hand, and not what Postfix was told
# to load.
refuse_unless_ready() {
    checked=''
    read -r checked 2>/dev/null <"$stage/checked" || :
    [ "$checked" = "$token" ] || fail 64 'nothing is staged; nothing was touched'
    read_change
    manage_bases "$stage"
    # The names are ours and hold no blanks: splitting is wanted.
    # shellcheck disable=SC2046
    set -- $(live_names)
    for name in $staged; do
        set -- "$@" "$stage/$name"
    done
    : >"$stage/now"
    [ $# -eq 0 ] || $DIGEST "$@" >"$stage/now" || fail 69 'what is live or staged cannot be read; nothing was touched'
    now='' was=''
    while read -r sum name; do
        case ${name#\*} in
            "$stage"/*) printf '%s %s\n' "$sum" "${name##*/}" >&3 ;;
            *) now="$now$sum ${name#\*}$newline" ;;
        esac
    done <"$stage/now" 3>"$stage/sums"
    while IFS= read -r line; do
        was="$was$line$newline"
    done <"$stage/live"
    [ "$now" = "$was" ] || {
        printf '%s' "$now" >"$stage/now"
        fail 11 "changed on the host since it was staged: $(diff "$stage/live" "$stage/now" |
            sed -n 's/^[<>] [0-9a-f]* //p' | sort -u | tr '\n' ' '); nothing was touched"
    }
}

# begin - make sure that a generation to return to is saved and that the journal names it, on the disk itself: a
# journal that a power failure leaves empty would have nothing to return to.
begin() {
    generation=$(journal_value generation)
    if [ -z "$generation" ] || [ ! -d "$generations/$generation" ]; then
        generation=0
        for kept in $(saved_generations); do
            [ "$kept" -lt "$generation" ] || generation=$((kept + 1))
        done
        if ! { [ -d "$generations" ] || mkdir "$generations"; } || ! mv "$stage/generation" "$generations/$generation"; then
            fail 13 'what is live could not be saved; nothing was touched'
        fi
    fi
    write_journal || fail 13 'the journal could not be written; nothing was touched'
    sync
}

# write_journal - say what is begun, and prepare for the way back. Called as a condition: every step says &&.
write_journal() {
    mkdir -p "$PRIVATE/restore" && {
        printf 'generation %s\ntoken %s\nsince %s\n' "$generation" "$token" "$since" &&
            printf 'service %s\ndeferred %s\n%s' "$service" "$(deferred_messages)" "${crossing:+cross $crossing$newline}" &&
            printf '%s' "$notes" && changed_names
    } >"$PRIVATE/journal.new" && mv -f "$PRIVATE/journal.new" "$PRIVATE/journal"
}

# changed_names - print "changes NAME" for what this change replaces or removes, and what an unsettled one did: only
# that is put back, as the rest may be somebody's hand.
changed_names() {
    # Names: splitting is wanted.
    # shellcheck disable=SC2086
    [ -z "$changed" ] || printf 'changes %s\n' $changed
    [ ! -f "$PRIVATE/journal" ] || grep '^changes ' "$PRIVATE/journal" || :
}

# watch - go back unless the change is settled within $seconds. A shell of its own: it counts by itself, so that a clock
# that is set wrong does not matter, and holds nothing of the connection, which may be cut.
watch() {
    trap - EXIT
    trap '' HUP INT TERM PIPE
    # Whoever opens it finds its own number first there.
    read -r self _ 2>/dev/null </proc/self/stat || self=$(sh -c 'echo "$PPID"')
    left=$seconds pause=5
    while [ "$left" -gt 0 ]; do
        sleep 1 || :
        is_unsettled || exit 0
        left=$((left - 1))
    done
    until go_back_by_itself; do
        sleep "$pause" || :
        [ "$pause" -ge 60 ] || pause=$((pause + 5))
    done
}

# go_back_by_itself - put the generation back unless somebody else settles the change; fail to be called again.
go_back_by_itself() {
    is_unsettled || return 0
    claim "$self" || return 1
    scratch=$PRIVATE/restore
    if is_unsettled && ! { mkdir -p "$scratch" && go_back "nobody confirmed the change within $seconds s"; }; then
        unclaim
        return 1
    fi
    release_lock "$token"
    unclaim "$stage"
}

# serve_change ACTION - make Postfix read the change. It refuses the removed domains from here on; what it took before, or
# still takes in sessions from before, keeps their routes.
serve_change() {
    [ ! -s "$stage/gone" ] || smtpd_processes >"$stage/sessions" || return 1
    serve "$1" || return 1
    : >"$stage/served" || return 1
    sessions=$(open_sessions) && count=$(queued_for gone) || return 1
    [ "$sessions" = 0 ] || printf '%s SMTP sessions from before\n' "$sessions" >>"$stage/waiting" || return 1
    [ "$count" = 0 ] || printf '%s queued recipients\n' "$count" >>"$stage/waiting"
}

# swap STAGED NAME - rename a staged file into place. A mark tells restore that routes have gone already, which they
# only do after Postfix has read the rest.
swap() {
    [ ! -e "$stage/waiting" ] || return 0
    [ ! -e "$stage/served" ] || echo 'late yes' >>"$PRIVATE/journal" || return 1
    mv -f "$stage/$1" "$2" && echo "$1 $2" >>"$stage/swapped"
}

# step WORD ARGUMENT... - do what one record says.
step() {
    case $1 in
        cross) cross "$3" "$stage/crossing" "$stage/crossing.cf" ;;
        swap) swap "$2" "$3" ;;
        drop) rm -f "$2" ;;
        service) serve_change "$2" ;;
    esac
}

# apply - work off the records; a failure says where it stopped.
apply() {
    : >"$stage/swapped"
    while read -r word one two rest; do
        case $word in
            cross | swap | drop | service) ;;
            *) continue ;;
        esac
        step "$word" "$one" "$two" >"$stage/reason" 2>&1 </dev/null || {
            printf '%s %s %s: %s\n' "$word" "$one" "$two" "$(tr '\n' ' ' <"$stage/reason")"
            return 1
        }
    done <"$stage/change"
    check_tables
}

# check_tables - ask each live table what the records say; a failure says for what it answers otherwise.
check_tables() {
    all=yes
    [ ! -e "$stage/waiting" ] || all=
    [ -s "$stage/query" ] || return 0
    wrong_answers "$all" <"$stage/query" >"$stage/wrong"
    [ ! -s "$stage/wrong" ] || {
        printf 'query of %s' "$(head -n 3 "$stage/wrong" | tr '\n' ';')"
        return 1
    }
}

# loaded_digests - print "file SHA256 NAME" for all that is live by this change and as it was staged, and what the change
# says of it.
loaded_digests() {
    awk '
        FILENAME ~ /live$/ { sum[$2] = $1; next }
        FILENAME ~ /sums$/ { staged[$2] = $1; next }
        FILENAME ~ /swapped$/ { sum[$2] = staged[$1]; next }
        $1 == "drop" || $1 == "release" { delete sum[$2] }
        $1 == "loaded" || $1 == "record" { kept[++count] = $0 }
        END {
            for (name in sum) print "file", sum[name], name
            for (line = 1; line <= count; line++) print kept[line]
        }
    ' "$stage/live" "$stage/sums" "$stage/swapped" "$stage/change"
}

# keep_loaded - say what was loaded. Routes that had to stay were not replaced.
keep_loaded() {
    [ ! -e "$stage/waiting" ] || [ ! -f transport ] || cp transport "$stage/loaded/transport" || return 1
    rm -rf "$PRIVATE/loaded" && mv "$stage/loaded" "$PRIVATE/loaded"
}

# write_manifest - record what the running Postfix has loaded, with a copy of the sources: what differs from it later
# is somebody else's hand. What was made by hand has no manifest.
write_manifest() {
    if [ -n "$by_hand" ]; then
        rm -rf "$PRIVATE/manifest" "$PRIVATE/loaded" || return 1
    else
        keep_loaded && {
            # The last line tells a whole manifest from one that was cut off.
            loaded_digests &&
                printf 'record generation %s\nrecord activated %s\n' $((generation + 1)) "$since" && echo end
        } >"$PRIVATE/manifest.new" && mv -f "$PRIVATE/manifest.new" "$PRIVATE/manifest" || return 1
    fi
    echo 'applied yes' >>"$PRIVATE/journal"
}

# finish - whatever happened, the stage is over, and the lock too unless somebody is to confirm.
finish() {
    status=$?
    trap - EXIT
    unclaim "$stage"
    [ "$status" -eq 0 ] || release_lock "$token"
    exit "$status"
}

# give_up - before anything was touched.
give_up() {
    status=$?
    trap - EXIT
    rm -rf "$stage"
    release_lock "$token"
    exit "$status"
}

cd "$directory" || fail 69 "cannot enter $directory; nothing was touched"
find_postfix "$compiled_daemons" "$compiled_queue"
trap '' HUP INT TERM PIPE
trap give_up EXIT
[ "$(lock_value token)" = "$token" ] ||
    fail 10 "the lock is no longer ours but $(lock_value holder)'s; nothing was touched"
[ -d "$stage" ] || fail 64 'nothing is staged; nothing was touched'
holder=$(lock_value holder)
write_lock "$PRIVATE/lock.new" "$token" "$holder"
mv -f "$PRIVATE/lock.new" "$PRIVATE/lock"
claim "$$" || fail 10 'another change on this host is being confirmed or undone; nothing was touched'
trap finish EXIT
refuse_unless_ready
begin
if [ "$seconds" != 0 ]; then
    # By exec, as a shell keeps what a redirection only covers: the connection would stay open with it.
    (exec </dev/null >/dev/null 2>&1 && watch) &
fi
filter=$(value_in main.cf content_filter)
stopped_at=$(apply) || undo "activation failed at: $stopped_at"
write_manifest || undo 'activation failed at: its record could not be written'
look_anew "$filter"
# Also of a change before, which was interrupted.
set -- "$PRIVATE"/crossing.*
[ ! -e "$1" ] || rm -rf "$@"
action=$service
[ "$action" != none ] || action='nothing to reload'
note_in_syslog "activated generation $((generation + 1)), with $generation to go back to: $action, by $holder$told"
if [ -e "$stage/waiting" ]; then
    printf 'routes of removed domains stay for %s: run again when these are over\n' \
        "$(sed '1!s/^/and /' "$stage/waiting" | tr '\n' ' ' | sed 's/ $//')"
fi
count=$(queued_for moved) || count=unknown
[ "$count" = 0 ] ||
    printf '%s queued recipients wait since before their domains were moved: they go to the new next hop when they are tried again\n' "$count"
ask_hops <"$stage/hop"
ask_needed <"$stage/needed"
# A master that cannot listen where a new service is to, or read master.cf, ends a moment after it was told.
case " $changed " in
    *' master.cf '*)
        [ "$service" = none ] || [ "$service" = stop ] || is_disabled || {
            sleep 1
            master_runs || undo 'Postfix ended when it read master.cf (the mail log has its reason)'
        }
        ;;
esac
before="generation $generation is what was live before"
[ -f "$generations/$generation/main.cf" ] || before='nothing was live before'
printf 'activated: %s; %s\n' "$action" "$before"
