//! An emulated Raspberry Pi under way: its console, its monitor, and its power switch.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::kernel::Boot;
use crate::error::TaskError;
use crate::toolchain::{need, tail};

/// Longest time from power on to the first command.
const BOOT: Duration = Duration::from_secs(90);
/// Pause between two looks at something.
const LOOK: Duration = Duration::from_millis(50);
/// Most of the console that is kept.
const MAX_CONSOLE: usize = 4 << 20;
/// Arguments of the kernel; the last tells the board from a real one. The console is the second serial port:
/// the first belongs to Bluetooth on this board, and takes no input.
const ARGUMENTS: &str =
    "console=ttyS1,115200 rdinit=/init panic=1 quiet loglevel=1 iomem=relaxed sedge.board=virtual-pi";
/// The sensors on its bus: QEMU's device, its address, and the name its values are set by.
const SENSORS: [(&str, u8, &str); 3] =
    [("tmp105", 0x48, "board-heat"), ("dps310", 0x77, "air"), ("lsm303dlhc_mag", 0x1e, "compass")];

/// A machine that runs.
pub(super) struct Machine {
    qemu: Child,
    console: UnixStream,
    monitor: BufReader<UnixStream>,
    /// What came from the console and was not taken yet; a letter may still be cut in the middle.
    pending: Vec<u8>,
    commands: u32,
}

impl Machine {
    /// Powers it on with a card, and waits until it takes commands.
    pub(super) fn boot(boot: &Boot, card: &Path, work: &Path) -> Result<Self, TaskError> {
        // Sockets have short names only, wherever the work is.
        let sockets = std::env::temp_dir().join(format!("sedge-pi-{}", std::process::id()));
        std::fs::create_dir_all(&sockets).map_err(TaskError::io("cannot make", &sockets))?;
        let [console, monitor] = ["console", "monitor"].map(|name| sockets.join(name));
        for socket in [&console, &monitor] {
            let _ = std::fs::remove_file(socket);
        }
        let mut qemu = start(boot, card, &console, &monitor, &work.join("console.log"))?;
        let connected = connect(&console, &mut qemu).and_then(|c| Ok((c, connect(&monitor, &mut qemu)?)));
        let _ = std::fs::remove_dir_all(&sockets);
        let (console, monitor) = match connected {
            Ok(both) => both,
            Err(error) => {
                let _ = qemu.kill();
                let _ = qemu.wait();
                return Err(error);
            }
        };
        let monitor = BufReader::new(monitor);
        let mut machine = Self { qemu, console, monitor, pending: vec![], commands: 0 };
        machine.console.set_read_timeout(Some(LOOK)).map_err(TaskError::io("cannot use", &sockets))?;
        let patience = Some(Duration::from_secs(30));
        machine
            .monitor
            .get_ref()
            .set_read_timeout(patience)
            .map_err(TaskError::io("cannot use", &sockets))?;
        machine.ask(&json!({"execute": "qmp_capabilities"}))?;
        machine.wait("boot", BOOT, |text| text.contains("@@ready").then_some(()))?;
        Ok(machine)
    }

    /// Runs a line of shell there and gives what it wrote; a status other than zero is an error.
    pub(super) fn run(&mut self, command: &str, within: Duration) -> Result<String, TaskError> {
        let (status, said) = self.try_run(command, within)?;
        if status == 0 {
            return Ok(said);
        }
        Err(TaskError::Guest { command: command.to_owned(), status, said: tail(&said, 30) })
    }

    /// Runs a line of shell there and gives its status and what it wrote.
    pub(super) fn try_run(&mut self, command: &str, within: Duration) -> Result<(i32, String), TaskError> {
        self.commands += 1;
        self.pending.clear();
        let line = format!("{command}\n");
        let sent = self.console.write_all(line.as_bytes());
        sent.map_err(|source| TaskError::Io {
            doing: "cannot write to",
            path: "the console".into(),
            source,
        })?;
        let end = format!("@@end {} ", self.commands);
        self.wait(&format!("finish `{command}`"), within, |text| {
            let at = text.find(&end)?;
            let rest = &text[at + end.len()..];
            let status = rest[..rest.find('\n')?].trim().parse().unwrap_or(-1);
            Some((status, text[..at].replace('\r', "")))
        })
    }

    /// Sets a property of a device, as a sensor would see the world change.
    pub(super) fn set(&mut self, device: &str, property: &str, value: i64) -> Result<(), TaskError> {
        let path = format!("/machine/peripheral/{device}");
        let arguments = json!({"path": path, "property": property, "value": value});
        self.ask(&json!({"execute": "qom-set", "arguments": arguments}))
    }

    /// Cuts the power, as a battery does that falls out: nothing is told, nothing is flushed.
    pub(super) fn cut(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }

    fn ask(&mut self, command: &Value) -> Result<(), TaskError> {
        let failed = |said: String| TaskError::Monitor { command: command.to_string(), said };
        let sent = writeln!(self.monitor.get_mut(), "{command}");
        sent.map_err(|error| failed(error.to_string()))?;
        loop {
            let mut line = String::new();
            let read = self.monitor.read_line(&mut line).map_err(|error| failed(error.to_string()))?;
            let answer: Value = serde_json::from_str(&line).unwrap_or_default();
            if answer.get("return").is_some() {
                return Ok(());
            }
            // Greeting and events come between.
            if read == 0 || answer.get("error").is_some() {
                return Err(failed(line));
            }
        }
    }

    /// Reads the console until `found` finds what it looks for.
    fn wait<T>(
        &mut self,
        what: &str,
        within: Duration,
        found: impl Fn(&str) -> Option<T>,
    ) -> Result<T, TaskError> {
        let deadline = Instant::now() + within;
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&self.pending);
            if let Some(value) = found(&text) {
                self.pending.clear();
                return Ok(value);
            }
            let late =
                |text: &str| TaskError::Late { what: what.to_owned(), within, console: tail(text, 30) };
            match self.console.read(&mut buffer) {
                Ok(0) => return Err(late(&text)),
                Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Err(late(&text)),
            }
            if Instant::now() > deadline || self.pending.len() > MAX_CONSOLE {
                return Err(late(&String::from_utf8_lossy(&self.pending)));
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut();
    }
}

fn start(boot: &Boot, card: &Path, console: &Path, monitor: &Path, log: &Path) -> Result<Child, TaskError> {
    let mut command = Command::new(need("qemu-system-aarch64")?);
    command.args(["-M", "raspi3b", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(&boot.kernel).arg("-dtb").arg(&boot.device_tree);
    command.arg("-initrd").arg(&boot.ramdisk).args(["-append", ARGUMENTS]);
    // Written through, so that what the machine has on its card survives the end of the emulator.
    command.arg("-drive").arg(format!("if=sd,format=raw,cache=writethrough,file={}", card.display()));
    command.arg("-chardev").arg(format!(
        "socket,id=console,server=on,wait=off,path={},logfile={}",
        console.display(),
        log.display()
    ));
    command.args(["-serial", "null", "-serial", "chardev:console"]);
    command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", monitor.display()));
    for (device, address, name) in SENSORS {
        command.arg("-device").arg(format!("{device},bus=i2c-bus.1,address={address:#x},id={name}"));
    }
    let errors = log.with_file_name("qemu.log");
    let file = std::fs::File::create(&errors).map_err(TaskError::io("cannot write", &errors))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    command.spawn().map_err(|source| TaskError::Start { program: "qemu-system-aarch64".into(), source })
}

/// Connects to a socket that QEMU is about to open.
fn connect(socket: &PathBuf, qemu: &mut Child) -> Result<UnixStream, TaskError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(source) => {
                let ended = qemu.try_wait().ok().flatten();
                if ended.is_some() || Instant::now() > deadline {
                    return Err(TaskError::Io {
                        doing: "cannot reach QEMU at",
                        path: socket.clone(),
                        source,
                    });
                }
                std::thread::park_timeout(LOOK);
            }
        }
    }
}
