# shellcheck shell=sh
# NAME
#   probe.sh - print what a host can tell of its mail service
# SYNOPSIS
#   probe.sh DIRECTORY < records
# DESCRIPTION
#   The records are the "query ..." and "hop ..." of probing.sh, and "needed WHAT" of needing.sh. Changes nothing and
#   writes no file.
#   Prints: running yes|no; wrong TEXT for each key that a table does not answer as it should; hop ... as probing.sh has
#   them; needed ... as needing.sh has them; deferred MESSAGES; journal KEY VALUE for what an unsettled change left; and
#   end, the last line.
# EXIT STATUS
#   0 in every case in which the output is complete; 69

directory=$1
asked=$(cat)

# records WORD - print the arguments of the records of that kind.
records() {
    say "$asked" | sed -n "s/^$1 //p"
}

cd "$directory" || fail 69 "cannot enter $directory"
find_compiled_postfix
if master_runs; then echo 'running yes'; else echo 'running no'; fi
records query | wrong_answers all | sed 's/^/wrong /'
records hop | ask_hops
records needed | ask_needed
printf 'deferred %s\n' "$(deferred_messages)"
[ ! -f "$PRIVATE/journal" ] || sed 's/^/journal /' "$PRIVATE/journal"
echo end
