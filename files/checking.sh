# shellcheck shell=sh
# NAME
#   checking.sh - what this host's own Postfix says of a staged change
# SYNOPSIS
#   put between common.sh and the text of stage.sh; never run by itself
# DESCRIPTION
#   The program that uses it has set $stage, the directory of the change, and $checks, which is not empty where the main.cf
#   in it is to be looked at by the slowest of the checks. Each function ends the program where something is found.

# said - print what a program said, on one line, without the path of the stage and the value of a parameter that it does
# not know: that may be a secret.
said() {
    sed -e "s|$PWD/$stage/||g" -e 's/\(unused parameter: [^=]*\)=.*/\1/' "$stage/said" | tr '\n' ' '
}

# settle FILE - date a file some seconds back. Every program of Postfix that reads a main.cf of this very second
# waits until it looks finished (src/util/dict.c, dict_load_file_xt), here and after the swap. A time zone that
# is seconds off is the portable way to a time that is.
settle() {
    TZ=UTC0 touch -t "$(TZ=AGO0:00:05 date +%Y%m%d%H%M.%S)" "$1"
}

# check_transports - every route must name a service of master.cf: mail for another would wait until it expires.
check_transports() {
    routes=$stage/transport services=$stage/master.cf
    [ -f "$routes" ] || routes=transport
    [ -f "$services" ] || services=master.cf
    [ -f "$routes" ] && [ -f "$services" ] || return 0
    unknown=$(awk '
        /^[ \t#]/ || NF < 2 { next }
        FILENAME == ARGV[1] { service[$1]; next }
        { name = $2; if (sub(/:.*/, "", name) && name != "" && !(name in service) && !told[name]++) printf " %s", name }
    ' "$services" "$routes")
    [ -z "$unknown" ] || fail 13 "transport names what is no service in master.cf:$unknown; nothing was touched"
}

# check_examples - tables that are tried in their order (regexp, pcre) are read by nobody but the daemons, which leave out the
# lines that they cannot read. So that it is known which entry finds an example, each is to find its own number there.
check_examples() {
    [ -s "$stage/example" ] || return 0
    mkdir "$stage/numbered"
    sed 's/^\([^ ]* [^ ]*\) .*/\1/' "$stage/example" | sort -u >"$stage/numbered.names"
    while read -r type name; do
        awk -F '\t' 'FNR > 1 { print $1 "\t" (FNR - 1), $2 }' "$stage/$name" >"$stage/numbered/$name"
        sed -n "s/^$type $name [^ ]* //p" "$stage/example" | sort -u |
            postmap -c "$configuration" -q - "$type:$PWD/$stage/numbered/$name" >"$stage/found" 2>"$stage/said" || :
        if [ -s "$stage/said" ]; then
            unread=$(awk -F '\t' '
                FILENAME == ARGV[1] { if (match($0, /, line [0-9]+:/)) bad[substr($0, RSTART + 7, RLENGTH - 8) + 0]; next }
                FNR in bad { printf " %s", $1 }' "$stage/said" "$stage/numbered/$name")
            fail 13 "$name: Postfix does not accept${unread:- it}: $(said | sed -e 's|numbered/||g' -e 's| $||'); nothing was touched"
        fi
        wrong=$(wrong_examples "$type" "$name")
        [ -z "$wrong" ] || fail 13 "$name: $wrong; nothing was touched"
    done <"$stage/numbered.names"
}

# wrong_examples TYPE NAME - of the examples of a table print those that another entry finds, or none, in one line.
wrong_examples() {
    awk -v type="$1" -v name="$2" '
        FILENAME == ARGV[1] { pattern[FNR] = $0; sub(/\t.*/, "", pattern[FNR]); next }
        FILENAME == ARGV[2] { text = $0; sub(/\t.*/, "", text); sub(/^[^\t]*\t/, ""); found[text] = $1 + 0; next }
        $1 == type && $2 == name {
            entry = $3; text = $0; sub(/^[^ ]* [^ ]* [^ ]* /, "", text)
            is = (text in found) ? found[text] : 0; by = is ? pattern[is] : "nothing"
            if (sub(/^!/, "", entry)) wrong = (is == entry + 0) ? ", expected that it does not" : ""
            else wrong = (is != entry + 0) ? ", expected " pattern[entry + 0] : ""
            if (wrong) { printf "%s\"%s\" is matched by %s%s", between, text, by, wrong; between = "; " }
        }' "$stage/numbered/$2" "$stage/found" "$stage/example"
}

# check_services - where services are added or replaced a master that is told of them must be able to read all of
# master.cf, or it ends; and their daemons must be there. Before Postfix 2.9 nothing but the master can tell the first.
check_services() {
    grep -q '^swap master\.cf ' "$stage/change" || return 0
    find_compiled_postfix
    missing=$(awk '
        /^# mailproxy: begin/ { is_ours = 1 }
        /^# mailproxy: end/ { is_ours = 0 }
        is_ours && /^[^ \t#]/ { print $8 }
    ' "$stage/master.cf" | while read -r program; do
        [ -x "$daemons/$program" ] || printf ' %s' "$daemons/$program"
    done)
    [ -z "$missing" ] || fail 13 "master.cf would have services that this Postfix has no daemon for:$missing; nothing was touched"
    case $(postconf -d -h mail_version) in 2.[0-8] | 2.[0-8][!0-9]*) return 0 ;; esac
    postconf -c "$PWD/$stage" -M >/dev/null 2>"$stage/said" ||
        fail 13 "Postfix could not read master.cf: $(said); nothing was touched"
}

# check_types - numbers and times are what their defaults are: a daemon that finds another dies when it is started,
# which may be long after this. Values that refer to others are left alone, and what may be more than its default.
# What is declared was checked by the controller, with the manual of another version: this host's own defaults decide.
check_types() {
    wrong=$(postconf -d | awk '
        FILENAME == "-" { type[$1] = ($3 ~ /^[0-9]+$/) ? "number" : ($3 ~ /^[0-9]+[smhdw]$/) ? "time" : ""; next }
        !/^[a-z]/ || /\$/ || /^compatibility_level/ || /^[a-z_]*(_port|_feedback|_loglevel|_dnsbl_[a-z]*_threshold)[ =]/ { next }
        {
            name = $1; sub(/=.*/, "", name); value = $0; sub(/^[^=]*=[ \t]*/, "", value)
            if (type[name] == "number" && value !~ /^[0-9]+$/) print name " = " value " (expected a number)"
            if (type[name] == "time" && value !~ /^[0-9]+[smhdw]?$/) print name " = " value " (expected a time such as 5d)"
        }
    ' - "$stage/main.cf" | tr '\n' ' ')
    [ -z "$wrong" ] || fail 13 "Postfix would not accept main.cf: ${wrong% }; nothing was touched"
}

# check_sasl - whoever is to give a password needs a mechanism for that: without one mail waits until it expires. Most
# systems have them in a package of their own. Where its directory is not known nothing can be told.
check_sasl() {
    [ "$(value_in "$stage/main.cf" smtp_sasl_auth_enable)" = '= yes' ] || return 0
    lacking=''
    for place in /usr/lib/sasl2 /usr/lib64/sasl2 /usr/lib/*/sasl2 /usr/local/lib/sasl2 /usr/pkg/lib/sasl2; do
        [ -d "$place" ] || continue
        lacking=$place
        for mechanism in "$place"/libplain.* "$place"/liblogin.* "$place"/libcrammd5.* "$place"/libscram.*; do
            [ ! -e "$mechanism" ] || return 0
        done
    done
    [ -z "$lacking" ] || fail 13 "Postfix could give no password: $lacking has no mechanism for that, such as libplain.so" \
        '(Debian has them in the package libsasl2-modules); nothing was touched'
}

# check_space - smtpd takes no message while the queue has less free space than 1.5 times the largest, or than
# queue_minfree (smtpd_check.c, smtpd_check_size).
check_space() {
    lacking=$({
        postconf -c "$PWD/$stage" -h message_size_limit queue_minfree queue_directory
        df -Pk "$(postconf -c "$PWD/$stage" -h queue_directory)" 2>/dev/null
    } | awk '
        NR == 1 { needed = $1 * 1.5 }
        NR == 2 && $1 > needed { needed = $1 }
        NR == 3 { queue = $0 }
        # A device, which may hold blanks, then: blocks, used, available, capacity, mount point.
        NR > 4 && match($0, /[0-9]+ +[0-9]+ +-?[0-9]+ +[0-9]+%/) {
            split(substr($0, RSTART, RLENGTH), column, / +/)
            if (column[3] * 1024 < needed) printf "%s has %.0f bytes free, needed are %.0f", queue, column[3] * 1024, needed
        }')
    [ -z "$lacking" ] || fail 13 "smtpd would take no mail: $lacking (1.5 times message_size_limit, or queue_minfree);" \
        'nothing was touched'
}

# try_smtpd - start the host's own smtpd with the staged configuration, tables included: it ends at once where
# restrictions are misspelled or would make an open relay, which no other check sees. By way of sendmail, which refuses
# everybody where authorized_submit_users is empty, as it is in a new instance: that is left out.
try_smtpd() {
    mkdir "$stage/try"
    cp "$stage/master.cf" "$stage/try/"
    set --
    for name in $managed; do
        set -- "$@" -e "s|$PWD/$name\([^A-Za-z0-9._-]\)|$PWD/$stage/$name\1|g" -e "s|$PWD/$name\$|$PWD/$stage/$name|"
    done
    sed "$@" "$stage/main.cf" | awk '/^[^ \t#]/ { is_out = /^authorized_submit_users[ \t]*=/ } !is_out' >"$stage/try/main.cf"
    find_compiled_postfix
    if ! master_runs; then
        # Nobody answers for the accounts there: smtpd would wait, and tell nothing. The last assignment holds.
        echo 'local_recipient_maps =' >>"$stage/try/main.cf"
    fi
    settle "$stage/try/main.cf"
    sendmail=$(postconf -c "$PWD/$stage" -h sendmail_path)
    printf 'QUIT\r\n' >"$stage/quit"
    "$sendmail" -C "$PWD/$stage/try" -bs <"$stage/quit" >/dev/null 2>"$stage/said" &
    trial=$!
    # Where the live Postfix is broken smtpd waits for it, and the trial tells nothing.
    { sleep 5 && kill "$trial"; } </dev/null >/dev/null 2>&1 &
    watchdog=$!
    wait "$trial" && status=0 || status=$?
    kill "$watchdog" 2>/dev/null || :
    if [ "$status" -ne 0 ] && [ "$status" -lt 128 ]; then
        fail 13 "smtpd does not start with this main.cf: $(said)(the mail log has its reason); nothing was touched"
    fi
}

# check_configuration - have this host's Postfix read the staged main.cf. postconf exits 0 on unknown
# parameters, postmap stops at a bad number and says so, and postfix check says so only to the mail log.
check_configuration() {
    [ -f "$stage/main.cf" ] || return 0
    # What was live before may be warned of: it was then, and is wanted as it was.
    if grep -q '^copy main.cf ' "$stage/change"; then
        postconf -c "$PWD/$stage" -n >/dev/null 2>"$stage/said" ||
            fail 13 "postconf cannot read the main.cf of that generation: $(said); nothing was touched"
        try_smtpd
        return 0
    fi
    postconf -c "$PWD/$stage" -n >/dev/null 2>"$stage/said" || :
    [ ! -s "$stage/said" ] || fail 13 "postconf does not accept main.cf: $(said); nothing was touched"
    postmap -c "$PWD/$stage" -q check static:ok >/dev/null 2>"$stage/said" </dev/null || :
    [ ! -s "$stage/said" ] || fail 13 "Postfix does not accept main.cf: $(said); nothing was touched"
    [ -n "$checks" ] || return 0
    check_types
    check_sasl
    check_space
    postfix -c "$PWD/$stage" check >/dev/null 2>"$stage/said" </dev/null ||
        fail 13 "postfix check failed: $(said)(the mail log has its reason); nothing was touched"
    try_smtpd
}
