//! Names from outside that end in a shell's words or a unit's lines: each is checked where it comes in, and quoted
//! where it goes out all the same.

use std::fmt;

use crate::DeployError;

/// Longest name of a host or prefix, in bytes.
const MAX_NAME: usize = 255;

/// A place to log in: `user@robot`, `robot`, or an entry of the user's ssh configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(String);

impl Host {
    /// Checks a host's name: letters, digits and `.-_:@[]%`, at most one `@`, and no dash at its beginning, which
    /// ssh would take for an option.
    ///
    /// # Errors
    /// [`DeployError::Name`].
    pub fn new(text: &str) -> Result<Self, DeployError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:@[]%".contains(c);
        let parts: Vec<&str> = text.split('@').collect();
        let fits = text.len() <= MAX_NAME
            && text.chars().all(plain)
            && parts.len() <= 2
            && parts.iter().all(|part| !part.is_empty() && !part.starts_with('-'));
        let allowed = "user@host, of letters, digits and . - _ : [ ] %, neither part beginning with -";
        if fits { Ok(Self(text.to_owned())) } else { Err(name_error("host", text, allowed)) }
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder on the board that holds the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Default for Prefix {
    fn default() -> Self {
        Self("/opt/sedge".to_owned())
    }
}

impl Prefix {
    /// Checks a prefix: absolute, two folders deep at least, of letters, digits and `._-`, so that it can stand in
    /// a unit and in a script as it is.
    ///
    /// # Errors
    /// [`DeployError::Name`].
    pub fn new(text: &str) -> Result<Self, DeployError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let folder = |name: &str| !name.is_empty() && name != "." && name != ".." && name.chars().all(plain);
        let folders = text.strip_prefix('/').map(|rest| rest.split('/').collect::<Vec<_>>());
        let fits = text.len() <= MAX_NAME
            && folders.is_some_and(|folders| folders.len() >= 2 && folders.iter().all(|name| folder(name)));
        let allowed =
            "an absolute path such as /opt/sedge, of letters, digits and . _ -, without a slash at its end";
        if fits { Ok(Self(text.to_owned())) } else { Err(name_error("prefix", text, allowed)) }
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn name_error(what: &'static str, found: &str, allowed: &'static str) -> DeployError {
    let found = found.chars().take(MAX_NAME).collect();
    DeployError::Name { what, found, allowed }
}

/// A word that any POSIX shell reads as this text.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The words of a command as a shell would split them: blanks part words, quotes hold them together. Nothing is
/// expanded.
///
/// # Errors
/// [`DeployError::Name`] where it is empty or a quote is not closed.
pub fn split_command(text: &str) -> Result<Vec<String>, DeployError> {
    let (mut words, mut word, mut quoted) = (vec![], None::<String>, None);
    for c in text.chars() {
        match (quoted, c) {
            (Some(quote), _) if c == quote => quoted = None,
            (None, '\'' | '"') => {
                quoted = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quoted.is_some() || words.is_empty() {
        return Err(name_error(
            "ssh",
            text,
            "a program and its options, such as \"ssh -p 2222\", with quotes closed",
        ));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;

    #[test]
    fn hosts_and_prefixes_that_could_be_read_otherwise_are_refused() {
        for host in ["pi@robot", "robot", "10.0.0.7", "pi@[fe80::1%eth0]", "rack_7"] {
            assert_eq!(Host::new(host).unwrap().as_str(), host);
        }
        for host in
            ["", "-oProxyCommand=x", "pi@-v", "a b", "a;b", "$(x)", "a@b@c", "@b", "a@", "a\nb", "a`b`"]
        {
            assert!(Host::new(host).is_err(), "{host:?}");
        }
        for prefix in ["/opt/sedge", "/srv/a/b_c-d.1"] {
            assert_eq!(Prefix::new(prefix).unwrap().as_str(), prefix);
        }
        for prefix in [
            "",
            "/",
            "/opt",
            "opt/sedge",
            "/opt/sedge/",
            "/opt/../etc",
            "/opt/a b",
            "/opt/%n",
            "/opt/'x'",
            "/opt//x",
        ] {
            assert!(Prefix::new(prefix).is_err(), "{prefix:?}");
        }
        assert!(Host::new(&"a".repeat(300)).is_err());
    }

    /// The shell itself is the oracle.
    #[test]
    fn what_is_quoted_comes_out_of_a_shell_as_it_went_in() {
        for text in
            ["", "plain", "it's", "$(id) `id` $HOME", "a\\'b\"c", "new\nline", "*?[x]; rm -rf x & | >"]
        {
            let script = format!("printf '%s.' {}", quote(text));
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{text}."));
        }
    }

    #[test]
    fn commands_are_split_as_a_shell_would() {
        assert_eq!(
            split_command("ssh -p  22 -o 'A B' \"c d\"e ''").unwrap(),
            ["ssh", "-p", "22", "-o", "A B", "c de", ""]
        );
        for text in ["", "  ", "ssh 'x"] {
            assert!(split_command(text).is_err(), "{text:?}");
        }
    }
}
