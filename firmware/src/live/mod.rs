//! A board as a source: its cameras and sensors read as they are, with what fails of them marked and tried
//! again while the rest goes on.
//!
//! A thread reads each camera, each microcontroller and one each bus; a [`Station`](station::Station) in it holds the devices and
//! asks the supervisor which is due. What they say goes through one bounded queue: frames and the inertial
//! sensor's samples as the events of any source, other sensors' readings for a file of their own, and news of
//! the devices. Of several cameras the first in the board's order that is not lost is read, the others wait in
//! reserve. The stream's clock counts from the start; a later session goes on after a stated gap, for what
//! passed meanwhile is not known.

mod camera;
mod clock;
mod faults;
mod ledger;
mod nodes;
mod outbox;
mod pins;
mod sensors;
mod simulated;
mod station;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sedge_boards::board::{BusSpec, CameraKind, Detected, Driver, SensorChip, SensorSpec, detect};
use sedge_boards::fault::{Faulty, FlipBit};
use sedge_boards::pins::{Input, Pins};
use sedge_boards::sim::RigError;
use sedge_boards::supervisor::SupervisorError;
use sedge_boards::{Board, BoardError};
use sedge_models::Modality;
use sedge_readings::Timestamp;

use camera::CameraSlot;
use faults::FaultPlan;
use nodes::NodeSlot;
use outbox::{Outbox, Overrun};
use pins::Panel;
use sensors::SensorSlot;
use simulated::{SimulatedCamera, World};
use station::{Post, Rota, Slot, Station};

pub(crate) use clock::{BETWEEN_SESSIONS, Clock};
pub(crate) use ledger::Entry;
pub use ledger::{DeviceAccount, DeviceCondition};
pub use outbox::DeviceChange;
pub(crate) use outbox::Said;
pub(crate) use pins::{Light, Shown};

/// What can wait in the queue: about half a second of a fast camera and IMU together.
const QUEUE: usize = 128;
/// Longest time without looking whether to stop.
const LOOK: Duration = Duration::from_millis(20);

/// A board that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The board that was asked for cannot be had.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// No board fits this machine.
    #[error("no board fits this machine; name one with --source board:NAME or board:FILE")]
    NoBoard,
    /// The board lacks what the encoder reads.
    #[error(
        "the encoder reads {wanted}, and the board {board} has none; add it to a copy of the board file, or run \
         another bundle"
    )]
    Lacks {
        /// The board.
        board: String,
        /// What it lacks.
        wanted: &'static str,
    },
    /// A fault that makes no sense.
    #[error("`{found}` is no fault; it must be {wanted}")]
    Fault {
        /// What was asked for.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// The simulated world of the board cannot be made.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// The devices cannot be watched.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// A thread could not be started.
    #[error("a thread that reads devices cannot be started: {0}")]
    Thread(io::Error),
}

/// The board that a source of the form `board` or `board:NAME|FILE` means, or `None` for any other source. The
/// machine below `root` is asked what it is where no board is named.
///
/// # Errors
/// [`LiveError::Board`], [`LiveError::NoBoard`].
pub fn board_of(source: &str, root: &Path) -> Result<Option<Board>, LiveError> {
    if source == "board" {
        let Detected { board, evidence } = detect(root).ok_or(LiveError::NoBoard)?;
        tracing::info!(board = board.name, "{evidence}");
        return Ok(Some(board));
    }
    let named = source.strip_prefix("board:").map(Board::named_or_file);
    Ok(named.transpose()?)
}

/// What a live source is made of.
pub(crate) struct LivePlan {
    pub(crate) board: Board,
    pub(crate) root: PathBuf,
    pub(crate) faults: Vec<String>,
    pub(crate) seed: u64,
    /// What the encoder reads.
    pub(crate) modality: Modality,
}

/// A board under way.
pub(crate) struct Live {
    inbox: Option<Receiver<Said>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    clock: Clock,
    overrun: Arc<Overrun>,
    devices: Vec<Arc<Entry>>,
    light: Light,
}

/// What comes of a board next.
pub(crate) enum Heard {
    Said(Said),
    /// Nothing for now; the clock stands here.
    Nothing(Timestamp),
    /// Every thread has ended, which only a defect can bring about.
    Ended,
}

impl Live {
    /// Starts to read a board's devices. The clock begins at `base`; `presses` of the button were counted
    /// before.
    pub(crate) fn start(plan: LivePlan, base: Timestamp, presses: u64) -> Result<Self, LiveError> {
        let faults = FaultPlan::parse(&plan.faults, base)?;
        let (sensors, cameras) = (&plan.board.sensors, &plan.board.cameras);
        let names = sensors.iter().map(|s| s.name.as_str()).chain(cameras.iter().map(|c| c.name.as_str()));
        let names = names.chain(plan.board.nodes.iter().map(|node| node.name.as_str()));
        faults.check(&names.collect::<Vec<_>>())?;
        lacks(&plan)?;
        let clock = Clock::new(base);
        let (sender, inbox) = sync_channel(QUEUE);
        let overrun = Arc::new(Overrun::default());
        let stop = Arc::new(AtomicBool::new(false));
        let live = Self {
            inbox: Some(inbox),
            stop: stop.clone(),
            threads: vec![],
            clock,
            overrun: overrun.clone(),
            devices: vec![],
            light: Light::new(),
        };
        let builder = Builder { outbox: Outbox::new(sender, overrun), faults, plan, live, index: 0 };
        builder.build(presses)
    }

    /// The next thing said, waited for a moment.
    pub(crate) fn next(&mut self) -> Heard {
        let Some(inbox) = &self.inbox else { return Heard::Ended };
        match inbox.recv_timeout(LOOK) {
            Ok(said) => Heard::Said(said),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing(self.clock.now()),
            Err(RecvTimeoutError::Disconnected) => Heard::Ended,
        }
    }

    /// Frames and samples that nobody had room for.
    pub(crate) fn overrun(&self) -> [u64; 2] {
        self.overrun.counts()
    }

    /// Every device's account.
    pub(crate) fn accounts(&self) -> Vec<DeviceAccount> {
        self.devices.iter().map(|entry| entry.account()).collect()
    }

    /// Whether no device fails or is lost.
    pub(crate) fn is_well(&self) -> bool {
        let ails = |entry: &Arc<Entry>| {
            matches!(entry.condition(), DeviceCondition::Failing | DeviceCondition::Lost)
        };
        !self.devices.iter().any(ails)
    }

    /// The status light.
    pub(crate) fn light(&self) -> &Light {
        &self.light
    }

    /// Ends every thread and closes every device.
    fn join(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A thread that waits for room hears that no one will take more.
        self.inbox = None;
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // What a thread panicked of is in the log already.
            let _ = thread.join();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.join();
    }
}

fn lacks(plan: &LivePlan) -> Result<(), LiveError> {
    let wanted = match plan.modality {
        Modality::Image if plan.board.cameras.is_empty() => "a camera's frames",
        Modality::Imu if feeding(&plan.board).is_none() && plan.board.nodes.is_empty() => {
            "an inertial sensor's samples"
        }
        _ => return Ok(()),
    };
    Err(LiveError::Lacks { board: plan.board.name.clone(), wanted })
}

/// The sensor whose samples the learner gets: the first inertial chip, otherwise the first that the kernel
/// drives.
fn feeding(board: &Board) -> Option<&SensorSpec> {
    board.imu().or_else(|| board.sensors.iter().find(|sensor| sensor.chip == SensorChip::Iio))
}

/// Builds the threads of a board, one after the other.
struct Builder {
    plan: LivePlan,
    faults: FaultPlan,
    outbox: Outbox,
    live: Live,
    /// Devices so far, which tells their seeds apart.
    index: u64,
}

impl Builder {
    fn build(mut self, presses: u64) -> Result<Live, LiveError> {
        let interrupt = self.pins(presses)?;
        self.buses(interrupt)?;
        self.nodes()?;
        self.cameras()?;
        Ok(self.live)
    }

    /// Starts the thread of button and light and gives the sensor's interrupt. A board whose pins cannot be
    /// had goes on without them.
    fn pins(&mut self, presses: u64) -> Result<Option<Input>, LiveError> {
        let Some(spec) = &self.plan.board.pins else { return Ok(None) };
        let Pins { label_button: button, status_led: led, data_ready } = match Pins::open(spec) {
            Ok(pins) => pins,
            Err(error) => {
                tracing::warn!(%error, "going on without pins");
                return Ok(None);
            }
        };
        let (light, clock, stop) = (self.live.light.clone(), self.live.clock, self.live.stop.clone());
        let panel = Panel { button, presses, led, light, clock, stop };
        self.live.threads.push(panel.serve(self.outbox.clone()).map_err(LiveError::Thread)?);
        Ok(data_ready)
    }

    /// A thread for each bus, and one for what the kernel drives.
    fn buses(&mut self, mut interrupt: Option<Input>) -> Result<(), LiveError> {
        let board = Arc::new(self.plan.board.clone());
        let feeding = feeding(&board).map(|sensor| sensor.name.as_str());
        let buses = board.buses.iter().map(Some).chain([None]);
        for bus in buses {
            let name = bus.map(|bus| bus.name.as_str());
            let mut posts = vec![];
            for sensor in board.sensors.iter().filter(|sensor| sensor.bus.as_deref() == name) {
                let feeds = feeding == Some(sensor.name.as_str());
                let world = self.world(bus, sensor)?;
                let pin = interrupt.take_if(|_| feeds);
                let slot = SensorSlot::new(self.plan.root.clone(), board.clone(), sensor.clone(), world, pin);
                let say = if feeds { sensors::feed } else { Said::Measured };
                let (device, entry) = self.device(slot, &sensor.name);
                posts.push(Post::new(device, entry, SensorSlot::period_of(sensor), say));
            }
            if !posts.is_empty() {
                self.serve(posts, None, name.unwrap_or("iio"))?;
            }
        }
        Ok(())
    }

    fn world(&self, bus: Option<&BusSpec>, sensor: &SensorSpec) -> Result<Option<World>, LiveError> {
        let simulated = bus.is_some_and(|bus| bus.driver == Driver::Simulated) && sensor.chip.is_inertial();
        let world = simulated.then(|| World::felt(self.plan.seed, self.live.clock.base(), sensor));
        Ok(world.transpose()?)
    }

    /// A thread for each microcontroller. The first feeds the learner where the board has no sensor that does.
    fn nodes(&mut self) -> Result<(), LiveError> {
        let has_own = feeding(&self.plan.board).is_some();
        for (at, node) in self.plan.board.nodes.clone().into_iter().enumerate() {
            let say = if at == 0 && !has_own { sensors::feed } else { Said::Measured };
            let name = node.name.clone();
            let (device, entry) = self.device(NodeSlot::new(node, self.live.clock), &name);
            self.serve(vec![Post::new(device, entry, NodeSlot::period(), say)], None, &name)?;
        }
        Ok(())
    }

    /// A thread for each camera.
    fn cameras(&mut self) -> Result<(), LiveError> {
        let cameras = self.plan.board.cameras.clone();
        let lost: Arc<[AtomicBool]> = cameras.iter().map(|_| AtomicBool::new(false)).collect();
        for (own, camera) in cameras.iter().enumerate() {
            let slot = if camera.kind == CameraKind::Simulated {
                let world = World::seen(self.plan.seed, self.live.clock.base(), camera)?;
                CameraSlot::simulated(camera.clone(), SimulatedCamera::new(world))
            } else {
                CameraSlot::real(self.plan.root.clone(), camera.clone())
            };
            let rota = Rota { lost: lost.clone(), own };
            let (device, entry) = self.device(slot, &camera.name);
            let post = Post::new(device, entry, CameraSlot::period_of(camera), camera::feed);
            self.serve(vec![post], Some(rota), &camera.name)?;
        }
        Ok(())
    }

    /// A device with its faults and its figures.
    fn device<S: Slot>(&mut self, slot: S, name: &str) -> (Faulty<S>, Arc<Entry>)
    where
        S::Value: Clone + FlipBit,
    {
        self.index += 1;
        let entry = Entry::new(name);
        self.live.devices.push(entry.clone());
        (Faulty::new(slot, self.faults.of(name), seed_of(self.plan.seed, self.index)), entry)
    }

    fn serve<S: Slot + Send + 'static>(
        &mut self,
        posts: Vec<Post<S>>,
        rota: Option<Rota>,
        name: &str,
    ) -> Result<(), LiveError>
    where
        S::Value: Clone + FlipBit + Send,
    {
        let (clock, stop, mut outbox) = (self.live.clock, self.live.stop.clone(), self.outbox.clone());
        let seed = seed_of(!self.plan.seed, self.index);
        let mut station = Station::new(posts, rota, clock.now(), seed)?;
        let work = move || {
            while !stop.load(Ordering::Acquire) && !outbox.is_closed() {
                let until = station.step(&|| clock.now(), &mut outbox);
                wait_until(until, clock, &stop);
            }
        };
        // The kernel keeps 15 bytes of a name.
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        self.live.threads.push(thread.map_err(LiveError::Thread)?);
        Ok(())
    }
}

fn wait_until(until: Timestamp, clock: Clock, stop: &AtomicBool) {
    loop {
        let left = Duration::from_nanos(until.since(clock.now()).nanos());
        if left.is_zero() || stop.load(Ordering::Acquire) {
            return;
        }
        std::thread::park_timeout(left.min(LOOK));
    }
}

/// Seeds for devices that differ from each other (Weyl's sequence by the golden ratio).
fn seed_of(seed: u64, index: u64) -> u64 {
    seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
