//! The page of a run over HTTP, for a browser on the same machine: read-only, no script, nothing fetched
//! from elsewhere, and made from the run directory's files, so that it cannot disturb the run. It asks
//! the browser to come again by itself until the run is finished.
//!
//! Requests are few and small, but whoever sends them is not trusted: a handful of threads, a bounded
//! queue, a bounded head, a deadline for the whole of a request and of an answer, no body, one request a
//! connection. Where only this machine is listened to, names that are not this machine's are refused as
//! well, so that no page from elsewhere can read a run through a name that it controls (DNS rebinding).

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::WatchError;
use super::capture::read;
use super::page::page;
use super::record::{MAX_LOG_BYTES, Record, Status};

/// Seconds after which the browser is asked to come again.
pub const REFRESH_SECONDS: u64 = 5;
/// Threads that answer.
const THREADS: usize = 4;
/// Connections that wait for one of them; others are closed at once.
const WAITING: usize = 16;
/// Longest head of a request, and most of its fields.
const MAX_HEAD: usize = 8 << 10;
const MAX_FIELDS: usize = 64;
/// How long a request, and its answer, may take in all.
const READ_TIME: Duration = Duration::from_secs(3);
const WRITE_TIME: Duration = Duration::from_secs(20);
/// How long a page that was made serves everyone who asks.
const FRESH: Duration = Duration::from_secs(1);

/// Serves the page of a run until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What threads share.
struct Site {
    run: PathBuf,
    local: bool,
    page: Mutex<Option<(Instant, Answer)>>,
}

/// A whole answer.
#[derive(Clone)]
struct Answer {
    status: &'static str,
    kind: &'static str,
    refresh: bool,
    body: Arc<Vec<u8>>,
}

impl Server {
    /// Serves the run in the directory `run` at `address`; port 0 takes any.
    ///
    /// # Errors
    /// [`WatchError::Listen`] when the address cannot be had.
    pub fn start(run: &Path, address: SocketAddr) -> Result<Self, WatchError> {
        let failed = |source| WatchError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let local = address.ip().is_loopback();
        let site = Arc::new(Site { run: run.into(), local, page: Mutex::new(None) });
        let (sender, receiver) = sync_channel(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut server = Self { address, closing: Arc::default(), threads: vec![] };
        for number in 0..THREADS {
            let (site, receiver) = (Arc::clone(&site), Arc::clone(&receiver));
            let answer =
                Builder::new().name(format!("page-{number}")).spawn(move || answer(&site, &receiver));
            server.threads.push(answer.map_err(failed)?);
        }
        let closing = Arc::clone(&server.closing);
        let accept = Builder::new().name("page".into()).spawn(move || accept(&listener, &sender, &closing));
        server.threads.push(accept.map_err(failed)?);
        Ok(server)
    }

    /// Where it is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // Waiting for a connection ends with one.
        let ip = match self.address.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let woken =
            TcpStream::connect_timeout(&SocketAddr::new(ip, self.address.port()), Duration::from_secs(1));
        for thread in self.threads.drain(..) {
            // Where it cannot be woken it is left to the end of the process.
            if woken.is_ok() {
                let _ = thread.join();
            }
        }
    }
}

fn accept(listener: &TcpListener, to: &SyncSender<TcpStream>, closing: &AtomicBool) {
    for stream in listener.incoming() {
        if closing.load(Ordering::SeqCst) {
            return;
        }
        // A failed connection is the other side's; too many open files pass as others are closed.
        let Ok(stream) = stream else {
            std::thread::park_timeout(Duration::from_millis(50));
            continue;
        };
        match to.try_send(stream) {
            // One too many is closed by being dropped.
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
}

fn answer(site: &Site, connections: &Mutex<Receiver<TcpStream>>) {
    loop {
        let next = connections.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut stream) = next else { return };
        // Whatever fails here is this connection's alone.
        let _ = serve(site, &mut stream);
    }
}

fn serve(site: &Site, stream: &mut TcpStream) -> std::io::Result<()> {
    let (answer, head_only) = match request(stream)? {
        Some((method, path, host)) => (site.route(&method, &path, host.as_deref()), method == "HEAD"),
        None => (text("400 Bad Request", "this is no HTTP request"), false),
    };
    let Answer { status, kind, refresh, body } = answer;
    let again = if refresh { format!("Refresh: {REFRESH_SECONDS}\r\n") } else { String::new() };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n{again}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
         Referrer-Policy: no-referrer\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let end = Instant::now() + WRITE_TIME;
    write(stream, head.as_bytes(), end)?;
    if !head_only {
        write(stream, &body, end)?;
    }
    stream.shutdown(std::net::Shutdown::Write)
}

/// Method, path and host of a request, once its head is there; `None` when it is none.
fn request(stream: &mut TcpStream) -> std::io::Result<Option<(String, String, Option<String>)>> {
    let end = Instant::now() + READ_TIME;
    let (mut head, mut filled) = (vec![0; MAX_HEAD], 0);
    loop {
        stream.set_read_timeout(Some(left(end)?))?;
        let room = head.get_mut(filled..).unwrap_or_default();
        // No room left, or nothing more to come.
        let read = if room.is_empty() { 0 } else { stream.read(room)? };
        if read == 0 {
            return Ok(None);
        }
        filled += read;
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(head.get(..filled).unwrap_or_default()) {
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(_)) => {
                let host = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"));
                let host = host.map(|field| String::from_utf8_lossy(field.value).into_owned());
                let (method, path) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
                return Ok(Some((method.into(), path.into(), host)));
            }
            Err(_) => return Ok(None),
        }
    }
}

fn write(stream: &mut TcpStream, mut bytes: &[u8], end: Instant) -> std::io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(end)?))?;
        match stream.write(bytes)? {
            0 => return Err(ErrorKind::WriteZero.into()),
            written => bytes = bytes.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// The time until `end`, which a timeout may be set to.
fn left(end: Instant) -> std::io::Result<Duration> {
    match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

impl Site {
    fn route(&self, method: &str, path: &str, host: Option<&str>) -> Answer {
        if !matches!(method, "GET" | "HEAD") {
            return text("405 Method Not Allowed", "this page can only be read");
        }
        if self.local && !host.is_some_and(is_local) {
            return text("403 Forbidden", "ask for this page as localhost");
        }
        match path.split('?').next().unwrap_or_default() {
            "/" => self.page(),
            "/metrics.jsonl" => self.log(),
            _ => text("404 Not Found", "there are only / and /metrics.jsonl"),
        }
    }

    /// The page, made anew where the last one is no longer fresh. One thread makes it, others wait.
    fn page(&self) -> Answer {
        let mut kept = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, answer)) = kept.as_ref()
            && made.elapsed() < FRESH
        {
            return answer.clone();
        }
        let made = Record::read(&self.run).and_then(|record| Ok((page(&record, None)?, record.status)));
        let answer = match made {
            Ok((page, status)) => Answer {
                status: "200 OK",
                kind: "text/html",
                refresh: status != Status::Finished,
                body: Arc::new(page.to_html().into_bytes()),
            },
            Err(error) => Answer { refresh: true, ..text("503 Service Unavailable", &error.to_string()) },
        };
        *kept = Some((Instant::now(), answer.clone()));
        answer
    }

    fn log(&self) -> Answer {
        match read(&self.run.join("metrics.jsonl"), MAX_LOG_BYTES) {
            Ok(body) => {
                Answer { status: "200 OK", kind: "application/jsonl", refresh: false, body: Arc::new(body) }
            }
            Err(error) => text("503 Service Unavailable", &error.to_string()),
        }
    }
}

/// Whether a `Host` is this machine's own name or address.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn text(status: &'static str, words: &str) -> Answer {
    let body = Arc::new(format!("{words}\n").into_bytes());
    Answer { status, kind: "text/plain", refresh: false, body }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
