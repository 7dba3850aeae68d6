//! A board over ssh: the system's own program, one connection for all steps, and scripts that any POSIX shell runs.

mod facts;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub(crate) use facts::value;
pub use facts::{Facts, Privileges};

use crate::flash::Step;
use crate::names::quote;
use crate::{DeployError, Host};

/// Most of an answer that is read, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// Most of ssh's own words that are shown, in bytes.
const MAX_REASON: u64 = 4096;
/// What ssh exits with when it, and not the command, failed.
const SSH_FAILED: i32 = 255;
const COMMON: &str = include_str!("../scripts/common.sh");

/// How to reach a board.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where to log in.
    pub host: Host,
    /// The ssh program and its options, `["ssh"]` as a rule.
    pub ssh: Vec<String>,
    /// Port, where it is not the one of ssh's configuration.
    pub port: Option<u16>,
    /// File of the key to log in with.
    pub identity: Option<PathBuf>,
}

impl Connection {
    /// A connection by ssh's own configuration.
    pub fn new(host: Host) -> Self {
        Self { host, ssh: vec!["ssh".to_owned()], port: None, identity: None }
    }
}

/// What a script is given on standard input.
pub(crate) enum Input {
    Nothing,
    File(File),
}

/// A connection that is open; it is closed when this is dropped.
pub(crate) struct Remote {
    connection: Connection,
    /// Holds the control socket.
    folder: tempfile::TempDir,
    privileges: Privileges,
}

impl Remote {
    /// Logs in. A password is asked for on the terminal where ssh needs one.
    pub(crate) fn connect(connection: Connection) -> Result<Self, DeployError> {
        let io = |source| DeployError::Io { path: std::env::temp_dir(), source };
        let folder = tempfile::Builder::new().prefix("sedge-").tempdir().map_err(io)?;
        let remote = Self { connection, folder, privileges: Privileges::Root };
        // ssh goes to the background with its standard error open, so a pipe to it would never end.
        let words_path = remote.folder.path().join("ssh.err");
        let words = File::create(&words_path).map_err(io)?;
        let mut master = remote.ssh()?;
        master.args(["-M", "-N", "-f", "-o", "ControlPersist=no"]).arg(remote.host());
        master.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words);
        let status = master.status().map_err(|source| remote.no_ssh(source))?;
        if status.success() {
            return Ok(remote);
        }
        let reason = File::open(&words_path).map(|file| limited(file, MAX_REASON)).unwrap_or_default();
        Err(DeployError::Connect { host: remote.host().to_owned(), reason: tidy(&reason) })
    }

    pub(crate) fn host(&self) -> &str {
        self.connection.host.as_str()
    }

    /// From here on scripts run as root.
    pub(crate) fn become_root(&mut self, privileges: Privileges) -> Result<(), DeployError> {
        let remedy = match privileges {
            Privileges::Root | Privileges::Sudo => {
                self.privileges = privileges;
                return Ok(());
            }
            Privileges::Password => {
                "sudo asks for a password there: log in as root, or give this user the rule \
                 `USER ALL=(root) NOPASSWD: ALL` with `sudo visudo -f /etc/sudoers.d/sedge`"
            }
            Privileges::None => "there is no sudo: log in as root, or install it and let this user use it",
        };
        Err(DeployError::Privileges { host: self.host().to_owned(), remedy })
    }

    /// Runs a script as root once that was settled, as whoever logged in before.
    pub(crate) fn run(
        &self,
        step: Step,
        script: &str,
        arguments: &[&str],
        input: Input,
    ) -> Result<String, DeployError> {
        let sudo = if self.privileges == Privileges::Sudo { "sudo -n " } else { "" };
        let words: Vec<String> = arguments.iter().map(|word| quote(word)).collect();
        let command =
            format!("{sudo}sh -c {} sedge {}", quote(&format!("{COMMON}{script}")), words.join(" "));
        let mut ssh = self.ssh()?;
        ssh.arg("-T").arg(self.host()).arg(command);
        ssh.stdin(match input {
            Input::Nothing => Stdio::null(),
            Input::File(file) => file.into(),
        });
        let io = |source| DeployError::Io { path: self.folder.path().to_owned(), source };
        let mut words = tempfile::tempfile_in(self.folder.path()).map_err(io)?;
        ssh.stdout(Stdio::piped()).stderr(words.try_clone().map_err(io)?);
        let mut child = ssh.spawn().map_err(|source| self.no_ssh(source))?;
        let answer = child.stdout.take().map(|pipe| limited(pipe, MAX_ANSWER)).unwrap_or_default();
        let status = child.wait().map_err(io)?;
        std::io::Seek::rewind(&mut words).map_err(io)?;
        let reason = tidy(&limited(words, MAX_REASON));
        let host = self.host().to_owned();
        match status.code() {
            Some(0) => Ok(answer),
            // Killed by a signal, ssh has lost its connection too.
            Some(SSH_FAILED) | None => Err(DeployError::ConnectionLost { host, step, reason }),
            Some(_) => {
                let said = if reason.is_empty() { tidy(&answer) } else { reason };
                Err(DeployError::Refused { host, step, reason: said })
            }
        }
    }

    fn ssh(&self) -> Result<Command, DeployError> {
        let Connection { ssh, port, identity, .. } = &self.connection;
        let (program, options) = ssh.split_first().ok_or_else(|| DeployError::Name {
            what: "ssh",
            found: String::new(),
            allowed: "a program and its options",
        })?;
        let mut command = Command::new(program);
        command.args(options);
        let mut socket = OsString::from("ControlPath=");
        socket.push(self.folder.path().join("c"));
        command.arg("-o").arg(socket);
        // A board that fell off the network is noticed within half a minute.
        for option in ["ConnectTimeout=15", "ServerAliveInterval=5", "ServerAliveCountMax=5"] {
            command.args(["-o", option]);
        }
        if let Some(port) = port {
            command.arg("-p").arg(port.to_string());
        }
        if let Some(identity) = identity {
            command.arg("-i").arg(identity);
        }
        Ok(command)
    }

    fn no_ssh(&self, source: std::io::Error) -> DeployError {
        let program = self.connection.ssh.first().cloned().unwrap_or_default();
        let remedy = "It comes with OpenSSH (Debian: apt install openssh-client); --ssh names another";
        DeployError::Tool { program, source, remedy }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Ok(mut command) = self.ssh() {
            command.args(["-O", "exit"]).arg(self.host());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // A connection that is gone already has nothing to be closed.
            let _ = command.status();
        }
    }
}

fn limited(from: impl Read, limit: u64) -> String {
    let mut bytes = vec![];
    // What was read before an error is still what was said.
    let _ = from.take(limit).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The lines of a program's complaint, in one, without control characters.
fn tidy(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.map(|line| line.strip_prefix("sedge: ").unwrap_or(line)).collect();
    lines.join("; ").chars().filter(|c| !c.is_control()).collect()
}
