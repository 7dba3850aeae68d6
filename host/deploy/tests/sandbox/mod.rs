//! A board made of a folder: a real OpenSSH server on loopback that puts whoever logs in into a root directory of its
//! own, with busybox or this machine's programs in it and a small service manager that really starts the daemon.
#![allow(dead_code)]

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sedge_deploy::flash::{FlashOptions, Health};
use sedge_deploy::payload::{BoardFile, BundleFile, Daemon};
use sedge_deploy::{Connection, Host, Prefix};

/// Programs that the scripts call, and those of the tests' own service manager.
const TOOLS: [&str; 30] = [
    "sh",
    "bash",
    "id",
    "uname",
    "df",
    "awk",
    "grep",
    "sed",
    "cat",
    "head",
    "tail",
    "tr",
    "wc",
    "ls",
    "mkdir",
    "mktemp",
    "dirname",
    "sha256sum",
    "readlink",
    "mv",
    "cp",
    "ln",
    "rm",
    "chmod",
    "sync",
    "sleep",
    "date",
    "env",
    "touch",
    "true",
];

/// Whose programs the board has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    /// One static busybox.
    Busybox,
    /// This machine's, with their libraries.
    Ours,
}

pub struct Sandbox {
    folder: tempfile::TempDir,
    sshd: Option<Child>,
    port: u16,
}

impl Sandbox {
    /// A board that runs, or none, with a line that says why.
    pub fn start(tools: Tools) -> Option<Self> {
        match Self::try_start(tools) {
            Ok(sandbox) => Some(sandbox),
            Err(reason) => {
                eprintln!("SKIPPED: flashing over ssh with {tools:?}: {reason}");
                None
            }
        }
    }

    /// With busybox where there is one.
    pub fn any() -> Option<Self> {
        let tools = if busybox().is_some() { Tools::Busybox } else { Tools::Ours };
        Self::start(tools)
    }

    fn try_start(tools: Tools) -> Result<Self, String> {
        let uid = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
        if uid.stdout != b"0\n" {
            return Err("the server changes its root, which takes root".into());
        }
        program("ssh").ok_or("there is no ssh (apt install openssh-client)")?;
        let sshd = program("sshd").ok_or("there is no sshd (apt install openssh-server)")?;
        // Not under /tmp, which others may write: sshd accepts no root directory below such a folder.
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let open = |folder: &&Path| {
            std::fs::metadata(folder).is_ok_and(|data| data.uid() != 0 || data.mode() & 0o022 != 0)
        };
        if let Some(folder) = base.ancestors().find(open) {
            return Err(format!(
                "others than root may write {}, where sshd takes no root directory",
                folder.display()
            ));
        }
        if !Command::new("chroot").args(["/", "true"]).status().is_ok_and(|status| status.success()) {
            return Err("the root directory cannot be changed here".into());
        }
        let folder = tempfile::tempdir_in(base).map_err(|error| error.to_string())?;
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut sandbox = Self { folder, sshd: None, port: free_port() };
        sandbox.furnish(tools)?;
        sandbox.make_keys()?;
        std::fs::create_dir_all("/run/sshd").map_err(|error| error.to_string())?;
        sandbox.listen_with(&sshd);
        sandbox.log_in();
        Ok(sandbox)
    }

    /// The board's `/`.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn furnish(&self, tools: Tools) -> Result<(), String> {
        let root = self.root();
        let folders = [
            "bin",
            "dev",
            "etc/systemd/system",
            "proc/sys/kernel/random",
            "run",
            "tmp",
            "usr/sbin",
            "var/lib",
            "var/log",
        ];
        for folder in folders {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        match tools {
            Tools::Busybox => {
                let busybox = busybox().ok_or("there is no static busybox (apt install busybox-static)")?;
                std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
                for tool in TOOLS.iter().filter(|tool| **tool != "bash") {
                    symlink("busybox", root.join("bin").join(tool)).unwrap();
                }
                // The shell that root has on this machine, which is what whoever logs in is given.
                self.write_program("bash", "#!/bin/sh\nexec /bin/sh \"$@\"\n");
            }
            Tools::Ours => TOOLS.iter().try_for_each(|tool| self.copy_program(tool))?,
        }
        let null = root.join("dev/null");
        let made = Command::new("mknod").arg(&null).args(["-m", "666", "c", "1", "3"]).status();
        if !made.is_ok_and(|status| status.success()) {
            return Err("device nodes cannot be made here".into());
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\ni2c:x:101:\ngpio:x:102:\nvideo:x:44:\n").unwrap();
        std::fs::write(root.join("proc/meminfo"), "MemTotal:        3884576 kB\nMemFree: 1 kB\n").unwrap();
        self.boot("first");
        self.write_program("systemctl", include_str!("systemctl.sh"));
        self.write_program("journalctl", "#!/bin/sh\ntail -n 30 /var/log/journal\n");
        let user = "#!/bin/sh\necho \"$*\" >>/var/log/users\n";
        self.write_program("useradd", &format!("{user}echo 'sedge:x:990:990::/:/bin/false' >>/etc/passwd\n"));
        self.write_program("usermod", user);
        Ok(())
    }

    /// The kernel's name for this boot.
    pub fn boot(&self, id: &str) {
        std::fs::write(self.root().join("proc/sys/kernel/random/boot_id"), format!("{id}\n")).unwrap();
    }

    /// A script among the board's programs.
    pub fn write_program(&self, name: &str, text: &str) {
        let path = self.root().join("bin").join(name);
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn copy_program(&self, name: &str) -> Result<(), String> {
        let path = program(name).ok_or_else(|| format!("there is no {name}"))?;
        std::fs::copy(std::fs::canonicalize(&path).unwrap(), self.root().join("bin").join(name)).unwrap();
        let libraries = Command::new("ldd").arg(&path).output().map_err(|error| error.to_string())?;
        for library in
            String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/'))
        {
            let copy = self.root().join(library.trim_start_matches('/'));
            if !copy.exists() {
                std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
                std::fs::copy(library, copy).unwrap();
            }
        }
        Ok(())
    }

    fn make_keys(&self) -> Result<(), String> {
        for name in ["host_key", "user_key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.folder.path().join(name));
            if !keygen.status().is_ok_and(|status| status.success()) {
                return Err("ssh-keygen makes no keys".into());
            }
        }
        Ok(())
    }

    fn listen_with(&mut self, sshd: &Path) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let config = format!(
            "ListenAddress 127.0.0.1:{}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nChrootDirectory {}\nLogLevel ERROR\n",
            self.port,
            path("host_key"),
            path("user_key.pub"),
            path("root")
        );
        std::fs::write(path("sshd_config"), config).unwrap();
        let log = std::fs::File::create(path("sshd.log")).unwrap();
        let mut command = Command::new(sshd);
        command.args(["-D", "-e", "-f"]).arg(path("sshd_config")).stdin(Stdio::null()).stderr(log);
        self.sshd = Some(command.spawn().unwrap());
        within(10, "sshd listens", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Listens again after [`Sandbox::cut`].
    pub fn listen(&mut self) {
        self.listen_with(&program("sshd").unwrap());
    }

    /// That the server is one to log in to, so that no test blames the wrong side.
    fn log_in(&self) {
        let Connection { ssh, .. } = self.connection();
        let mut command = Command::new(&ssh[0]);
        command.args(&ssh[1..]).args(["-p", &self.port.to_string(), "root@127.0.0.1", "true"]);
        let output = command.output().unwrap();
        let log = std::fs::read_to_string(self.folder.path().join("sshd.log")).unwrap_or_default();
        assert!(output.status.success(), "{} {log}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn connection(&self) -> Connection {
        let key = self.folder.path().join("user_key").display().to_string();
        let options = ["-F", "none", "-i", &key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"];
        let mut ssh = vec!["ssh".to_owned()];
        ssh.extend(options.map(str::to_owned));
        ssh.extend(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"].map(str::to_owned));
        Connection { ssh, port: Some(self.port), ..Connection::new(Host::new("root@127.0.0.1").unwrap()) }
    }

    /// A bundle that makes the daemon behave so.
    pub fn bundle(&self, behaviour: &str) -> BundleFile {
        let sum = behaviour.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
        let digest = format!("{:0<64}", format!("{:x}", sum.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let path = self.folder.path().join(format!("{behaviour}.sedge"));
        std::fs::write(&path, format!("digest={digest}\nbehaviour={behaviour}\n")).unwrap();
        BundleFile { path, digest }
    }

    /// What puts the daemon with a bundle of that behaviour there.
    pub fn options(&self, behaviour: Option<&str>) -> FlashOptions {
        FlashOptions {
            connection: self.connection(),
            prefix: Prefix::default(),
            board: BoardFile::named_or_file("rpi4").unwrap(),
            daemon: Daemon::Prebuilt(daemon().to_owned()),
            bundle: behaviour.map(|behaviour| self.bundle(behaviour)),
            health: Self::health(),
            fresh: false,
        }
    }

    pub fn health() -> Health {
        Health { wait_s: 3, hold_s: 2, least_embeddings: 1 }
    }

    /// Breaks every connection and listens no more, as a robot that drives out of reach. What runs on the board goes on.
    pub fn cut(&mut self) {
        let Some(mut listener) = self.sshd.take() else { return };
        let mut servers = vec![listener.id()];
        let mut at = 0;
        while let Some(&parent) = servers.get(at) {
            servers.extend(children(parent).into_iter().filter(|pid| name_of(*pid).starts_with("sshd")));
            at += 1;
        }
        // Each dies at once; none may have forked a new one in between.
        for pid in servers {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        let _ = listener.wait();
    }

    /// Reads a file of the board; empty where there is none.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path.trim_start_matches('/'))).unwrap_or_default()
    }

    /// Which slot the link leads to.
    pub fn current(&self) -> Option<String> {
        let link = std::fs::read_link(self.root().join("opt/sedge/current")).ok()?;
        Some(link.display().to_string())
    }

    /// Process of the service, if it runs.
    pub fn service(&self) -> Option<u32> {
        if self.root().join("run/service/exit").exists() {
            return None;
        }
        self.read("run/service/pid").trim().parse().ok()
    }

    /// Runs a program of the board as its own boot would.
    pub fn run(&self, words: &[&str]) -> std::process::Output {
        Command::new("chroot").arg(self.root()).args(words).env("PATH", "/bin:/usr/sbin").output().unwrap()
    }

    /// Asserts that what is in service is whole, by the digests of the files themselves, and runs.
    pub fn assert_in_service(&self, slot: &str, behaviour: &str) {
        assert_eq!(self.current().as_deref(), Some(slot));
        let folder = self.root().join("opt/sedge").join(slot);
        let sums = Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(&folder)
            .output();
        let sums = sums.unwrap();
        assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));
        assert_eq!(String::from_utf8_lossy(&sums.stdout).lines().count(), 5);
        assert!(
            self.read(&format!("opt/sedge/{slot}/bundle.sedge"))
                .contains(&format!("behaviour={behaviour}\n"))
        );
        // The outcome is written before the service that was tried has stopped and the one before has started.
        within(20, "the service runs", || self.service().is_some());
        assert_eq!(
            self.read("etc/systemd/system/sedged.service"),
            self.read(&format!("opt/sedge/{slot}/sedged.service"))
        );
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.cut();
        if let Some(pid) = self.service() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
}

/// The stand-in for the daemon, compiled once.
pub fn daemon() -> &'static Path {
    static DAEMON: OnceLock<PathBuf> = OnceLock::new();
    DAEMON.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Tests of several programs may do this at the same time: each writes its own and renames it.
        let beside = folder.join(format!("sandbox-daemon-{}", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox/daemon.rs");
        let mut rustc = Command::new("rustc");
        rustc.args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
            "-o",
        ]);
        let status = rustc.arg(&beside).arg(source).status().unwrap();
        assert!(status.success(), "the stand-in for the daemon is not compiled");
        let path = folder.join("sandbox-daemon");
        std::fs::rename(&beside, &path).unwrap();
        path
    })
}

/// Waits until something holds.
pub fn within(seconds: u64, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];
    folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

fn busybox() -> Option<PathBuf> {
    let path = program("busybox")?;
    let bytes = std::fs::read(&path).ok()?;
    // One that is linked to libraries would not start in a folder without them.
    sedge_deploy::elf::Program::from_bytes(&bytes).ok()?.needs_glibc.is_none().then_some(path)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name in brackets: state, then the parent.
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        fields.split(' ').nth(1).and_then(|field| field.parse().ok()) == Some(parent)
    })
    .collect()
}

fn name_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
}
