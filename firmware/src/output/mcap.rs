//! The MCAP file: the JSON lines as messages on `/embedding` and `/event`, in order of time, with JSON
//! schemas, so that Foxglove and the `mcap` tools open it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read};
use std::path::Path;
use std::sync::Arc;

use mcap::{Channel, Message, Schema, WriteOptions};
use serde::Deserialize;

use super::replace_file;
use crate::OutputError;

/// Longest line that is taken for a record.
const MAX_LINE: u64 = 1 << 20;

const EMBEDDING_SCHEMA: &str = r#"{"type":"object","properties":{
"t_ns":{"type":"integer"},"index":{"type":"integer"},"weights":{"type":"integer"},
"embedding":{"type":"array","items":{"type":"number"}},
"motion":{"type":"object","properties":{"samples":{"type":"integer"},
"accel_mean":{"type":"array","items":{"type":"number"}},"gyro_mean":{"type":"array","items":{"type":"number"}},
"gyro_rms":{"type":"number"},"rotation":{"type":"array","items":{"type":"number"}},"yaw":{"type":"number"}}}}}"#;
const EVENT_SCHEMA: &str =
    r#"{"type":"object","properties":{"t_ns":{"type":"integer"},"event":{"type":"string"}}}"#;

#[derive(Deserialize)]
struct Stamped {
    t_ns: u64,
}

/// Makes `path` anew from the two files of lines.
pub fn write_mcap(path: &Path, embeddings: &Path, events: &Path) -> Result<(), OutputError> {
    let failed = |source| OutputError::Mcap { path: path.to_owned(), source: Box::new(source) };
    replace_file(path, |file| {
        let mut out = WriteOptions::new()
            .library(concat!("sedged ", env!("CARGO_PKG_VERSION")))
            .create(BufWriter::new(file))
            .map_err(failed)?;
        let mut topics = [
            Topic::open(embeddings, 1, "/embedding", "sedge.Embedding", EMBEDDING_SCHEMA)?,
            Topic::open(events, 2, "/event", "sedge.Event", EVENT_SCHEMA)?,
        ];
        loop {
            let earliest = topics.iter_mut().filter(|topic| topic.next.is_some());
            let Some(topic) = earliest.min_by_key(|topic| topic.next) else { break };
            out.write(&topic.message()).map_err(failed)?;
            topic.advance()?;
        }
        out.finish().map_err(failed)?;
        Ok(())
    })
}

/// One file of lines, read a line ahead.
struct Topic<'a> {
    path: &'a Path,
    lines: BufReader<File>,
    line: Vec<u8>,
    next: Option<u64>,
    sequence: u32,
    channel: Arc<Channel<'static>>,
}

impl<'a> Topic<'a> {
    fn open(
        path: &'a Path,
        id: u16,
        topic: &str,
        name: &str,
        schema: &'static str,
    ) -> Result<Self, OutputError> {
        let file = File::open(path).map_err(|source| reading(path, source))?;
        let data = Cow::Borrowed(schema.as_bytes());
        let schema = Schema { id, name: name.into(), encoding: "jsonschema".into(), data };
        let channel = Channel {
            id,
            topic: topic.into(),
            schema: Some(Arc::new(schema)),
            message_encoding: "json".into(),
            metadata: BTreeMap::new(),
        };
        let lines = BufReader::new(file);
        let mut topic =
            Self { path, lines, line: Vec::new(), next: None, sequence: 0, channel: Arc::new(channel) };
        topic.advance()?;
        Ok(topic)
    }

    /// Reads the next line; a last one that was cut is the end.
    fn advance(&mut self) -> Result<(), OutputError> {
        self.line.clear();
        let read = (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut self.line);
        read.map_err(|source| reading(self.path, source))?;
        self.next = None;
        if self.line.pop() == Some(b'\n') {
            let Stamped { t_ns } = serde_json::from_slice(&self.line)?;
            self.next = Some(t_ns);
            self.sequence = self.sequence.wrapping_add(1);
        }
        Ok(())
    }

    fn message(&self) -> Message<'_> {
        let time = self.next.unwrap_or(0);
        Message {
            channel: self.channel.clone(),
            sequence: self.sequence,
            log_time: time,
            publish_time: time,
            data: Cow::Borrowed(&self.line),
        }
    }
}

fn reading(path: &Path, source: std::io::Error) -> OutputError {
    OutputError::Io { step: "reading", path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_lines_come_back_in_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let embeddings = "{\"t_ns\":1,\"embedding\":[0.5]}\n{\"t_ns\":5,\"embedding\":[]}\n{\"t_ns\":9,\"em";
        std::fs::write(file("a"), embeddings).unwrap();
        std::fs::write(file("b"), "{\"t_ns\":3,\"event\":\"x\"}\n").unwrap();
        write_mcap(&file("s.mcap"), &file("a"), &file("b")).unwrap();
        let bytes = std::fs::read(file("s.mcap")).unwrap();
        let messages: Vec<_> = mcap::MessageStream::new(&bytes).unwrap().map(|m| m.unwrap()).collect();
        let found: Vec<_> = messages.iter().map(|m| (m.log_time, m.channel.topic.as_str())).collect();
        assert_eq!(found, [(1, "/embedding"), (3, "/event"), (5, "/embedding")]);
        assert_eq!(&*messages[0].data, b"{\"t_ns\":1,\"embedding\":[0.5]}");
        let schema = messages[0].channel.schema.as_ref().unwrap();
        assert_eq!(
            (schema.encoding.as_str(), messages[0].channel.message_encoding.as_str()),
            ("jsonschema", "json")
        );
        serde_json::from_slice::<serde_json::Value>(&schema.data).unwrap();
        serde_json::from_slice::<serde_json::Value>(EVENT_SCHEMA.as_bytes()).unwrap();
    }
}
