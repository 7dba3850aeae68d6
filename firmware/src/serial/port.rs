//! A serial port, opened; and one question to whoever is there.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use sedge_boards::board::NodeSpec;
use sedge_wire::{Decoder, FromNode, Hello, PROTOCOL, ToNode, encode};

use super::NodeError;

/// Longest wait for bytes: a question that is due waits no longer.
const READ_TIMEOUT: Duration = Duration::from_millis(5);
/// Longest wait for room.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);
/// Time between two questions to a node that has not answered.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// An open line. Reading gives bytes as soon as there are some, and `TimedOut` or `WouldBlock` after a few
/// milliseconds without; no bytes at all mean that it is gone.
pub trait Port: Read + Write + Send {}

impl<P: Read + Write + Send> Port for P {}

/// What opens a line, again each time that it is gone.
pub type Opener = Box<dyn FnMut() -> io::Result<Box<dyn Port>> + Send>;

/// What opens the port of a node.
pub(super) fn opener(spec: &NodeSpec) -> Opener {
    let (device, baud) = (spec.device.clone(), spec.baud);
    Box::new(move || {
        let mut port = serial2::SerialPort::open(&device, baud)?;
        port.set_read_timeout(READ_TIMEOUT)?;
        port.set_write_timeout(WRITE_TIMEOUT)?;
        // What has waited since before is of another time.
        port.discard_buffers()?;
        Ok(Box::new(port))
    })
}

/// Whether an error says only that there was nothing, or no room, yet.
pub(super) fn is_early(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock | Interrupted)
}

/// Asks a node who it is, for at most `patience`. Changes nothing about it.
///
/// # Errors
/// [`NodeError::Open`], [`NodeError::Line`], [`NodeError::Silent`], [`NodeError::Protocol`].
pub fn ask(spec: &NodeSpec, patience: Duration) -> Result<Hello, NodeError> {
    let node = || spec.name.clone();
    let (baud, device) = (spec.baud, spec.device.clone());
    let open = opener(spec)();
    let mut port = open.map_err(|source| NodeError::Open { node: node(), device: device.clone(), source })?;
    let (begin, mut asked, mut bytes) = (Instant::now(), None, 0u64);
    let (mut decoder, mut buffer) = (Decoder::new(), [0; 512]);
    while begin.elapsed() < patience {
        if asked.is_none_or(|at: Instant| at.elapsed() >= ASK_AGAIN) {
            asked = Some(Instant::now());
            // Whatever was under way ends with a zero.
            let question = [&[0], encode(&ToNode::Identify).as_slice()].concat();
            write(&mut port, &question).map_err(|source| NodeError::Line { node: node(), source })?;
        }
        let came = read(&mut port, &mut buffer).map_err(|source| NodeError::Line { node: node(), source })?;
        bytes += came.len() as u64;
        let mut hello = None;
        decoder.push(came, |message| {
            if let FromNode::Hello(said) = message {
                hello = Some(said);
            }
        });
        match hello {
            Some(hello) if hello.protocol == PROTOCOL => return Ok(hello),
            Some(hello) => return Err(NodeError::Protocol { node: node(), found: hello.protocol }),
            None => {}
        }
    }
    Err(NodeError::Silent { node: node(), device, baud, bytes })
}

/// The bytes that have come, none where there were none in time.
pub(super) fn read<'a>(port: &mut impl Port, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    match port.read(buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => Ok(buffer.get(..count).unwrap_or_default()),
        Err(error) if is_early(&error) => Ok(&[]),
        Err(error) => Err(error),
    }
}

/// Writes bytes. What finds no room is left out: the other side asks for what it misses, or is asked again.
pub(super) fn write(port: &mut impl Port, bytes: &[u8]) -> io::Result<()> {
    match port.write_all(bytes) {
        Err(error) if !is_early(&error) => Err(error),
        _ => Ok(()),
    }
}
