# Whether the daemon of a slot starts at all here, and its version: prefix, slot.
"$prefix/$2/sedged" --version 2>&1 || fail "the daemon does not start here"
