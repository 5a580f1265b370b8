# shellcheck shell=sh
# NAME
#   foreign.sh - what files say: their contents, the certificates in them, and what a main.cf that mailproxy did not make leads to
# SYNOPSIS
#   put between common.sh and the text of observe.sh; never run by itself
# DESCRIPTION
#   Prints records of observe.sh, whose manual page has them. $asked names the parameters that are declared.

# The parameters that say who is relayed for, and how.
RELAYING='mynetworks relay_domains transport_maps alias_maps relay_transport relayhost mydestination
    parent_domain_matches_subdomains smtpd_relay_restrictions smtpd_recipient_restrictions myhostname mydomain'

# content NAME [PATH] - print a file byte for byte. Lines as they are when they are printable ASCII and the last
# one ends in a newline; else in hexadecimal, as the way back to the controller carries only UTF-8 lines.
content() {
    name=$1 path=${2:-$1}
    # What is small is looked at by the shell itself.
    ! small_content || return 0
    # What is not printable, and the last byte: of a plain text that is the newline and nothing else.
    # shellcheck disable=SC2046
    set -- $({ tr -d '\11\12\40-\176' <"$path" && tail -c 1 "$path"; } | od -An -v -tx1 -N 2)
    if [ "$*" = 0a ]; then
        printf 'content %s text\n' "$name"
        sed 's/^/|/' "$path"
    else
        printf 'content %s hex\n' "$name"
        od -An -v -tx1 "$path" | sed 's/^/|/'
    fi
}

# small_content - print $path as $name where it is such a plain text, and small; else fail, having printed nothing.
small_content() {
    size=$(($(wc -c <"$path"))) length=0 text=''
    [ "$size" -le 10000 ] || return 1
    while IFS= read -r line; do
        case $line in
            *[!\	\ -~]*) return 1 ;;
        esac
        length=$((length + ${#line} + 1)) text="$text
|$line"
    done <"$path"
    # A shell passes over a NUL, and over what comes behind the last newline.
    [ "$length" = "$size" ] && say "content $name text$text"
}

# lines - replace what is no printable ASCII: the way back to the controller carries only UTF-8 lines.
lines() {
    tr -c '\11\12\40-\176' '?'
}

# certificates NAME - print the certificates that a file holds. Nothing else of it: a private key may stand there, too.
certificates() {
    printf 'content certificate/%s text\n' "$1"
    tr -d '\r' <"$1" | lines | awk '
        /^-----BEGIN / { block = ""; inside = /^-----BEGIN CERTIFICATE-----$/ }
        inside { block = block "|" $0 "\n" }
        /^-----END CERTIFICATE-----$/ && inside { printf "%s", block; inside = 0 }'
}

# pair CERTIFICATE KEY - print what files on this host hold: certificates, and the digest of the public key that belongs to
# the private one.
pair() {
    if [ -f "$1" ]; then certificates "$1"; else printf 'nocertificate %s\n' "$1"; fi
    # Before 1.0.0 it cannot tell.
    case $(openssl version 2>/dev/null) in
        '' | 'OpenSSL 0.'*) key=unknown ;;
        *) key=damaged ;;
    esac
    if [ ! -f "$2" ]; then
        key=absent
    elif [ "$key" = damaged ] && public=$(openssl pkey -in "$2" -passin pass: -pubout 2>/dev/null </dev/null); then
        key=$(say "$public" | $DIGEST)
    fi
    printf 'key %s %s\n' "$2" "${key%% *}"
}

# split - print the words of standard input, between commas and blanks, one a line.
split() {
    # shellcheck disable=SC2020
    tr ', ' '\n\n'
}

# tables - print "TYPE PATH" for each file that domains, networks, aliases and routes come from ($effective): regular
# ones of a size that can be a table's source. Where there is none, the index of a table that can be listed will do.
tables() {
    say "$effective" | sed -n -e 's/^mynetworks *= *//p' -e 's/^relay_domains *= *//p' \
        -e 's/^transport_maps *= *//p' -e 's/^alias_maps *= *//p' -e 's/^mydestination *= *//p' |
        split | sed -e 's/^proxy://' -e 's/^\//file:\//' | sort -u |
        while IFS=: read -r type path; do
            case $type:$path in
                file:/* | texthash:/* | hash:/* | btree:/* | lmdb:/* | cdb:/* | dbm:/*) ;;
                *) continue ;;
            esac
            if [ -f "$path" ] && [ -z "$(find "$path" -prune -size +32768 2>/dev/null)" ]; then
                printf '%s %s\n' "$type" "$path"
            elif [ ! -e "$path" ] && [ "$type" != cdb ] && [ -f "$(index_of "$type" "$path")" ]; then
                printf '%s %s\n' "$type" "$path"
            fi
        done
}

# index_of TYPE PATH - print the file that a table of that type is indexed into; nothing where there is none.
index_of() {
    case $1 in
        hash | btree) printf '%s.db\n' "$2" ;;
        lmdb | cdb) printf '%s.%s\n' "$2" "$1" ;;
        dbm) printf '%s.pag\n' "$2" ;;
    esac
}

# is_unindexed TYPE PATH - whether the source of a table is younger than the table.
is_unindexed() {
    index=$(index_of "$1" "$2")
    [ -n "$index" ] && [ -f "$index" ] && [ -n "$(find "$2" -prune -newer "$index" 2>/dev/null)" ]
}

# foreign DIRECTORY - print what the main.cf there says by other means than the managed files.
foreign() {
    # postconf expands references to other parameters from 2.10 on.
    # shellcheck disable=SC2086
    effective=$({ postconf -c "$1" -x $RELAYING || postconf -c "$1" $RELAYING; } 2>/dev/null |
        sed "s|$1/|$PWD/|g" | lines)
    say "$effective" | sed 's/^/effective /'
    # shellcheck disable=SC2046,SC2086
    postconf -d $asked $(sed -n 's/^\([A-Za-z0-9_]\{1,\}\)[ 	]*=.*/\1/p' "$1/main.cf") 2>/dev/null |
        lines | sed 's/^/builtin /'
    said=$(postconf -c "$1" -n 2>&1 >/dev/null) || echo 'broken main.cf'
    say "$said" | lines | sed -n 's/^.*: unused parameter: \([^ =]*\).*/unused \1/p'
    tables | while read -r type path; do
        ! is_unindexed "$type" "$path" || printf 'unindexed %s\n' "$path"
        case " $BASIC " in
            *" ${path#"$PWD"/} "*) continue ;;
        esac
        if [ -f "$path" ]; then
            content "$path"
        else
            printf 'content %s text\n' "$path"
            postmap -c "$PWD" -s "$type:$path" 2>/dev/null | lines | sed 's/^/|/'
        fi
    done
}
