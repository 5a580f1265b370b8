# shellcheck shell=sh
# NAME
#   stage.sh - receive a change beside the live files, index it and check it there
# SYNOPSIS
#   stage.sh DIRECTORY TOKEN HOLDER STALE < change
# DESCRIPTION
#   DIRECTORY is the configuration directory; TOKEN names this run; HOLDER says who runs it; STALE is the
#   token of a lock that the controller knows to be abandoned ('' for none).
#   The change is a text of records, each a line:
#     base NAME SHA256|absent       what the review saw; anything else on the disk is refused
#     file NAME LINES SHA256        a new content, followed by its lines; it must arrive with this digest
#     edit NAME LIVE LINES SHA256   what makes a new content of the live file LIVE, followed by its lines (mailproxy/edit.py)
#     copy NAME GENERATION          a content that a generation of this host keeps, as it is there
#     check main.cf                 have "postfix check" look at it; for the slowest of the checks only a new one
#     table NAME TYPE COUNT SHA256  index NAME as TYPE; the sorted listing must have this digest
#     cross FROM TO                 prepare to have tables read from elsewhere while they change from type FROM to type TO
#     held REVIEW STATE             what is staged waits for another run, and this is what it is of
#     programs NAME                 keep the files that begin with "program." in a directory of that name: later runs need
#                                   not send them
#     swap STAGED NAME, service ACTION, drop NAME, release NAME, note TEXT, loaded NAME VALUE, record NAME VALUE, by-hand
#                                   kept for activate.sh in the file "change", in this order, with those above
#     example TYPE NAME ENTRY TEXT  of the table NAME, which is of a type that is tried in its order, the entry of that number
#                                   is the first that matches TEXT; with "!" before the number it is not
#     gone KEY, moved KEY (of routes), query TYPE NAME KEY hit VALUE or miss, hop DESTINATION, needed WHAT
#                                   kept for it in files of these names
#     end                           the last line; without it nothing is done
#   Takes the lock, writes .mailproxy/stage.TOKEN/, and touches no live file. When it succeeds the lock and the
#   stage stay for activate.sh; when it fails both are gone.
# EXIT STATUS
#   see common.sh: 0, 10, 11, 12, 13, 64, 69

directory=$1 token=$2 holder=$3 stale=$4
stage=$PRIVATE/stage.$token
newline='
'

# take_lock - become the one controller of this host, or fail naming the one that is.
# A hard link appears with its content or not at all, and fails where a lock is already.
take_lock() {
    # In a directory a link would be made inside, and always succeed.
    [ ! -d "$PRIVATE/lock" ] || refuse_lock "$directory/$PRIVATE/lock is a directory, expected a file"
    write_lock "$stage/lock" "$token" "$holder"
    ! ln "$stage/lock" "$PRIVATE/lock" 2>/dev/null || return 0
    theirs=$(lock_value token)
    by="$(lock_value holder) since $(lock_value since) (seconds since 1970)"
    ! lock_is_busy || refuse_lock "a change by $by is running on this host"
    [ -z "$theirs" ] || [ "$theirs" = "$stale" ] || refuse_lock "held by $by"
    mv -f "$stage/lock" "$PRIVATE/lock"
    printf 'took over the abandoned lock of %s\n' "$by"
}

# refuse_lock REASON - end, as somebody else has it.
refuse_lock() {
    rm -rf "$stage"
    fail 10 "locked: $1; nothing was touched"
}

# abandon - on any failure leave neither stage nor lock behind.
abandon() {
    status=$?
    trap - EXIT
    if [ "$status" -ne 0 ] && [ "$(lock_value token)" = "$token" ]; then
        rm -rf "$stage"
        release_lock "$token"
    fi
    exit "$status"
}

# receive - split standard input into the files of the stage and the record list "change".
receive() {
    # What becomes live is to be read by all.
    umask 022
    awk -v stage="$stage" '
        BEGIN { for (i = split("change meant bases example gone moved query hop needed", kept, " "); i > 0; i--) printf "" > (stage "/" kept[i]) }
        left > 0 { print > target; if (--left == 0) close(target); next }
        $1 == "file" || $1 == "edit" {
            print $NF, $2 > (stage "/meant")
            target = stage "/" $2 ($1 == "edit" ? ".edit." $3 : "")
            left = $(NF - 1); if (left == 0) { printf "" > target; close(target) } next
        }
        $1 == "base" { print $3, $2 > (stage "/bases"); next }
        $1 ~ /^(example|gone|moved|query|hop|needed)$/ { print substr($0, length($1) + 2) > (stage "/" $1); next }
        { print > (stage "/change"); last = $0 }
        END { exit last == "end" ? 0 : 3 }
    ' && status=0 || status=$?
    [ "$status" != 3 ] || fail 64 'the change arrived incomplete; nothing was touched'
    for edit in "$stage"/*.edit.*; do
        [ ! -f "$edit" ] || edited "$edit" "${edit##*.edit.}" >"${edit%.edit.*}" 2>/dev/null || :
    done
    umask 077
    meant='' names='' arrived=''
    while read -r sum name; do
        meant="$meant${meant:+$newline}$sum $name" names="$names $name"
        ! is_secret "$name" || chmod 0600 "$stage/$name" || status=1
    done <"$stage/meant"
    for name in $SHARED; do
        case "$names " in *" $name "*) as_found "$name" || status=1 ;; esac
    done
    # The names are ours and hold no blanks: splitting is wanted.
    # shellcheck disable=SC2086
    [ -z "$names" ] || arrived=$(cd "$stage" && digest $names) || :
    if [ "$status" != 0 ] || [ "$arrived" != "$meant" ]; then
        fail 64 'what was sent could not be written as it is: is the disk full? Nothing was touched'
    fi
}

# edited EDIT LIVE - print the live file as edited: an edit is made of hunks "AT DROPPED ADDED", each followed by the lines
# that are added. Whether that is right is told by the digest.
edited() {
    awk -v edit="$1" '
        function next_hunk(    hunk) {
            at = 0
            if ((getline head <edit) > 0) { split(head, hunk, " "); at = hunk[1]; dropped = hunk[2]; added = hunk[3] }
        }
        function add() {
            for (; added > 0; added--) { getline line <edit; print line }
            last = at + dropped - 1
            next_hunk()
        }
        BEGIN { next_hunk() }
        FNR == at { add() }
        FNR > last { print }
        END { if (at) add() }
    ' "$2"
}

# as_found NAME - give what is to replace a file that is not ours alone that one's owner and mode.
as_found() {
    cp -p "$1" "$stage/found" && cat "$stage/$1" >"$stage/found" && mv -f "$stage/found" "$stage/$1"
}

# copy_saved - take from a generation what is to be live again.
copy_saved() {
    while read -r word name number; do
        [ "$word" != copy ] || cp -p "$PRIVATE/generations/$number/$name" "$stage/$name" ||
            fail 69 "generation $number has no $name that could be copied; nothing was touched"
    done <"$stage/change"
}

# refuse_if_moved - the live files must be the ones that the review saw.
refuse_if_moved() {
    manage_bases "$stage"
    live_digests >"$stage/live"
    live=' ' moved=''
    while read -r sum name; do
        live="$live$name=$sum "
    done <"$stage/live"
    while read -r sum name; do
        case $live in
            *" $name=$sum "*) live=${live%%" $name="*}${live#*" $name=$sum"} ;;
            *" $name="*) ;;
            *) [ "$sum" = absent ] || moved="$moved $name" ;;
        esac
    done <"$stage/bases"
    # What is left is live otherwise, or was not there.
    for left in $live; do
        moved="$moved ${left%=*}"
    done
    [ -z "$moved" ] || fail 11 "changed on the host since it was read:$moved; nothing was touched"
}

# choose_configuration - set $configuration to the directory by which tables are made: the live one, or where main.cf is to be
# checked the stage, filled up with the live files that this change leaves alone.
choose_configuration() {
    configuration=$PWD
    checks=$(value_in "$stage/change" check)
    [ ! -f "$stage/main.cf" ] || settle "$stage/main.cf"
    [ -f "$stage/main.cf" ] || [ -f "$stage/master.cf" ] || [ -n "$checks" ] || return 0
    configuration=$PWD/$stage
    set --
    case $managed in *' master.cf '*) services='' ;; *) services=master.cf ;; esac
    # Also what lets Postfix find its services and its dynamically loaded table types.
    for name in $managed $services dynamicmaps.cf dynamicmaps.cf.d; do
        [ -e "$stage/$name" ] || [ ! -e "$name" ] || set -- "$@" "$name"
    done
    cp -pRL "$@" "$stage/"
}

# listing NAME TYPE - print the sorted entries of an indexed table, less those postalias adds for NIS. Postfix cannot list
# cdb: there it is asked for every key of the source, which is as it was sent.
listing() {
    if [ "$2" = cdb ]; then
        sed -e '/^#/d' -e 's/[: ].*//' "$stage/$1" | postmap -c "$configuration" -q - "$2:$PWD/$stage/$1"
    elif [ "$1" = aliases ]; then
        postmap -c "$configuration" -s "$2:$PWD/$stage/$1" |
            grep -v -e '^YP_LAST_MODIFIED	' -e '^YP_MASTER_NAME	' -e '^@	@$'
    else
        postmap -c "$configuration" -s "$2:$PWD/$stage/$1"
    fi | sort
}

# index_tables - compile each table and compare it with what was meant: the tools exit 0 on bad lines
# and only warn, so anything on standard error is a failure.
index_tables() {
    set --
    while read -r word name type _; do
        [ "$word" = table ] || continue
        # A table that is only damaged is made of the live source.
        [ -f "$stage/$name" ] || cp -p "$name" "$stage/$name"
        case $name in aliases) tool=postalias ;; *) tool=postmap ;; esac
        if ! "$tool" -c "$configuration" "$type:$PWD/$stage/$name" 2>"$stage/said" </dev/null || [ -s "$stage/said" ]; then
            fail 12 "$tool could not index $name: $(said); nothing was touched"
        fi
        listing "$name" "$type" >"$stage/listing.$name" 2>"$stage/said.$name" || :
        set -- "$@" "$stage/$name"
    done <"$stage/change"
    [ $# -eq 0 ] || compare_listings
    for table in "$@"; do
        shift
        if is_secret "${table##*/}"; then
            chmod 0600 "$table" "$table".[!e]*
        else
            set -- "$@" "$table" "$table".[!e]*
        fi
    done
    [ $# -eq 0 ] || chmod 0644 "$@"
}

# compare_listings - fail where a table lists other entries than were meant.
compare_listings() {
    listed=$newline$(digest "$stage"/listing.*)$newline
    while read -r word name type count sum; do
        [ "$word" = table ] || continue
        case $listed in
            *"$newline$sum $stage/listing.$name$newline"*) ;;
            *)
                mv "$stage/said.$name" "$stage/said"
                fail 12 "$name indexed as $type lists $(($(wc -l <"$stage/listing.$name"))) entries, and not exactly the" \
                    "$count that were meant; $(said)nothing was touched"
                ;;
        esac
    done <"$stage/change"
}

# keep_programs - keep what was sent for that, in place of what is kept so far. On the disk itself before it has its
# name: a program that a power failure has cut off must not be run.
keep_programs() {
    kept=$(value_in "$stage/change" programs)
    [ -n "$kept" ] || return 0
    mkdir "$stage/$kept"
    for file in "$stage"/program.*; do
        mv "$file" "$stage/$kept/${file#"$stage"/program.}"
    done
    sync
    rm -rf "$PRIVATE"/programs.*
    mv "$stage/$kept" "$PRIVATE/$kept"
}

# prepare_crossing - make the tables and the main.cf that are live while tables become another type of the same file
# names: what is live now, with the routes of both sides.
prepare_crossing() {
    types=$(value_in "$stage/change" cross)
    [ -n "$types" ] || return 0
    mkdir "$stage/crossing"
    for name in $TABLES bridge; do
        [ ! -f "$stage/$name.db" ] || cp "$stage/$name.db" "$stage/crossing/$name.db"
    done
    [ ! -f "$stage/bridge.db" ] || mv -f "$stage/crossing/bridge.db" "$stage/crossing/transport.db"
    crossing_main_cf "${types% *}" "${types#* }" "$stage/crossing" <main.cf >"$stage/crossing.cf"
    chmod 0644 "$stage/crossing.cf"
    settle "$stage/crossing.cf"
}

cd "$directory" || fail 69 "cannot enter $directory; nothing was touched"
[ ! -L "$PRIVATE" ] || fail 69 "$directory/$PRIVATE is a symbolic link; expected a directory of root; nothing was touched"
[ -d "$PRIVATE" ] || mkdir -m 0700 "$PRIVATE"
chmod 0700 "$PRIVATE"
mkdir "$stage"
take_lock
trap abandon EXIT
trap 'exit 1' HUP INT TERM
clear_up "$stage"
receive
refuse_if_moved
keep_programs
copy_saved
choose_configuration
index_tables
check_examples
prepare_crossing
{ save_live && save_loaded; } || fail 13 'what is live could not be copied: is the disk full? Nothing was touched'
check_transports
check_services
check_configuration
printf '%s\n' "$token" >"$stage/checked"
printf 'staged\n'
