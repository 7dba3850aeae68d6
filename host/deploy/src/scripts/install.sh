# Makes the user, and what mends a trial after a loss of power: prefix, text of `settle`, text of its unit.
if ! id sedge >/dev/null 2>&1; then
    if command -v useradd >/dev/null 2>&1; then
        useradd --system --user-group --no-create-home --home-dir "$home" --shell /usr/sbin/nologin sedge
    else
        adduser -S -D -H -h "$home" -s /bin/false sedge
    fi || fail "cannot make the user sedge"
fi
for group in i2c spi gpio video render dialout; do
    if grep -q "^$group:" /etc/group 2>/dev/null; then
        if command -v usermod >/dev/null 2>&1; then
            usermod -a -G "$group" sedge
        else
            addgroup sedge "$group"
        fi || fail "cannot put the user sedge into the group $group"
    fi
done
printf '%s' "$2" >"$prefix/settle.new" && mv -f "$prefix/settle.new" "$prefix/settle" || fail "cannot write $prefix/settle"
printf '%s' "$3" >"$units/.$prepare.new" && mv -f "$units/.$prepare.new" "$units/$prepare" || fail "cannot write $units/$prepare"
systemctl daemon-reload
systemctl enable "$prepare" >/dev/null 2>&1 || fail "cannot enable $prepare"
