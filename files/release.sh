# shellcheck shell=sh
# NAME
#   release.sh - give up a staged change
# SYNOPSIS
#   release.sh DIRECTORY TOKEN
# DESCRIPTION
#   Removes the stage and the lock where they are this run's; the live files are not touched.
# EXIT STATUS
#   0 in every case

directory=$1 token=$2
cd "$directory" || exit 0
rm -rf "$PRIVATE/stage.$token"
release_lock "$token"
