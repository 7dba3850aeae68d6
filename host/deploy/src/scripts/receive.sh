# Takes a file into a slot, beside first, and renames it when its digest is right: prefix, token, slot, name, mode,
# digest, and where it comes from: `-` is standard input, anything else a slot that has it.
token=$2 slot=$3 name=$4 mode=$5 wanted=$6 from=$7
[ "$(cat "$prefix/owner" 2>/dev/null)" = "$token" ] || fail "another host flashes this board now; it has the slot $slot"
[ "$(current)" != "$slot" ] || fail "the slot $slot is in service; begin again"
file=$prefix/$slot/$name
if [ "$from" = - ]; then
    cat >"$file.part" || fail "cannot write $file; is the disk full?"
else
    cp "$prefix/$from/$name" "$file.part" || fail "cannot copy $name from the slot $from"
fi
found=$(sha256sum <"$file.part")
found=${found%% *}
if [ "$found" != "$wanted" ]; then
    rm -f "$file.part"
    fail "$name came with the digest $found instead of $wanted"
fi
chmod "$mode" "$file.part" && sync && mv -f "$file.part" "$file" && sync || fail "cannot put $file in place"
