//! The daemon on an emulated Raspberry Pi 3B: QEMU's machine, Debian's kernel with its own drivers for I2C, GPIO,
//! the card and a test camera, and the shipped daemon, which is asked to prove there what it does.

mod acceptance;
mod card;
mod daemon;
mod kernel;
mod live;
mod machine;
mod records;

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::TaskError;
use card::Card;
use machine::Machine;

/// What to do.
#[derive(Debug)]
pub(crate) struct Plan {
    /// A daemon that is built already.
    pub(crate) daemon: Option<PathBuf>,
    /// Folder for kernel, card and console.
    pub(crate) work: PathBuf,
    /// Build the daemon as it is shipped.
    pub(crate) shipped: bool,
    /// Only boot, for a person.
    pub(crate) shell: bool,
}

/// Builds, boots and proves.
pub(crate) fn run(plan: &Plan) -> Result<(), TaskError> {
    crate::toolchain::need("qemu-system-aarch64")?;
    std::fs::create_dir_all(&plan.work).map_err(TaskError::io("cannot make", &plan.work))?;
    let work = plan.work.canonicalize().map_err(TaskError::io("cannot find", &plan.work))?;
    let boot = timed("kernel and first file system", || kernel::prepare(&work))?;
    let daemon = timed("the daemon for 64-bit ARM", || daemon::built(plan, &work))?;
    let sedge = timed("sedge for this machine", || daemon::here("sedge", "sedge"))?;
    let card = timed("the card, flashed", || Card::make(&work, &daemon, &sedge))?;
    if plan.shell {
        return shell(Machine::boot(&boot, &card.image, &work)?);
    }
    acceptance::prove(&boot, &card, &work)
}

/// Does a part and says how long it took.
#[expect(clippy::print_stdout, reason = "a person reads it as it goes")]
fn timed<T>(what: &str, part: impl FnOnce() -> Result<T, TaskError>) -> Result<T, TaskError> {
    let start = Instant::now();
    let done = part()?;
    println!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(done)
}

/// Hands lines from a person to the machine.
#[expect(clippy::print_stdout, reason = "a person reads it")]
fn shell(mut machine: Machine) -> Result<(), TaskError> {
    println!("a line is a command; `exit` ends");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if line.trim() == "exit" {
            break;
        }
        let (status, said) = machine.try_run(&line, Duration::from_secs(600))?;
        print!("{said}");
        println!("[{status}]");
        let _ = std::io::stdout().flush();
    }
    machine.cut();
    Ok(())
}
