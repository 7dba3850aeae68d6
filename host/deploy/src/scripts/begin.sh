# Clears the slot that is not in service and marks it as this host's: prefix, token, slot.
token=$2 slot=$3
mkdir -p "$prefix/a" "$prefix/b" || fail "cannot make $prefix"
settle
[ "$(current)" != "$slot" ] || fail "the slot $slot is in service; begin again"
# The sums first: from here on the slot is not whole, whatever else happens.
rm -f "$prefix/$slot/SHA256SUMS" && sync || fail "cannot clear $prefix/$slot"
rm -rf "$prefix/$slot" && mkdir "$prefix/$slot" || fail "cannot clear $prefix/$slot"
printf '%s\n' "$token" >"$prefix/owner"
