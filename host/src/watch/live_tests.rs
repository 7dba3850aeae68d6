#![allow(clippy::unwrap_used)]
use std::io::{Read, Write};
use std::net::Shutdown;

use super::*;
use crate::watch::testing;

/// Serves a run of a few lines and asks `request`; gives head and body.
fn asked(server: &Server, request: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.into(), body.into())
}

fn get(server: &Server, path: &str, host: &str) -> (String, String) {
    asked(server, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
}

fn server(address: &str) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let run = testing::written(folder.path());
    let server = Server::start(run.path(), address.parse().unwrap()).unwrap();
    (folder, server)
}

#[test]
fn the_page_and_the_log_can_be_read_and_nothing_else() {
    let (_folder, server) = server("127.0.0.1:0");
    let (head, body) = get(&server, "/", "localhost:80");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Refresh: 5"), "{head}");
    assert!(head.contains("X-Content-Type-Options: nosniff") && !head.contains("Access-Control"), "{head}");
    assert!(body.contains("<svg ") && body.contains("0.5000"), "{body}");
    let (head, body) = get(&server, "/metrics.jsonl?x", "127.0.0.1");
    assert!(head.contains("application/jsonl"), "{head}");
    assert!(body.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{body}");
    assert_eq!(body.lines().count(), testing::LINES);
    for path in ["/config.toml", "/../config.toml", "//etc/passwd", "/checkpoint.sedge-run"] {
        assert!(get(&server, path, "localhost").0.starts_with("HTTP/1.1 404 "), "{path}");
    }
    let (head, body) = asked(&server, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty());
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(asked(&server, request.as_bytes()).0.starts_with("HTTP/1.1 405 "), "{method}");
    }
}

#[test]
fn names_of_other_machines_are_refused_where_only_this_one_is_listened_to() {
    let (_folder, server) = server("127.0.0.1:0");
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", ""] {
        assert!(get(&server, "/", host).0.starts_with("HTTP/1.1 403 "), "{host}");
    }
    for host in ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"] {
        assert!(get(&server, "/", host).0.starts_with("HTTP/1.1 200 "), "{host}");
    }
    let nameless = asked(&server, b"GET / HTTP/1.0\r\n\r\n").0;
    assert!(nameless.starts_with("HTTP/1.1 403 "), "{nameless}");
}

#[test]
fn who_asks_for_another_address_may_be_asked_by_any_name() {
    let (_folder, server) = server("0.0.0.0:0");
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, server.address().port()));
    let mut stream = TcpStream::connect(local).unwrap();
    stream.write_all(b"GET /metrics.jsonl HTTP/1.1\r\nHost: robot.example\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn what_is_no_request_is_refused_and_hurts_nobody() {
    let (_folder, server) = server("127.0.0.1:0");
    let long = [b"GET /", &[b'a'; 2 * MAX_HEAD][..]].concat();
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(2 * MAX_FIELDS));
    for request in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"hello\r\n\r\n",
        b"",
        fields.as_bytes(),
        b"GET / HTTP/1.1\r\nHost: lo",
    ] {
        let (head, _) = asked(&server, request);
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    }
    // Of a head that is too long the rest is never read, so the connection may be cut under the writer.
    if let Ok(mut stream) = TcpStream::connect(server.address()) {
        let _ = stream.write_all(&long).and_then(|()| stream.read_to_end(&mut vec![]));
    }
    // Connections that say nothing do not keep others out for longer than a request may take.
    let silent: Vec<TcpStream> =
        (0..2 * THREADS).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    assert!(get(&server, "/", "localhost").0.starts_with("HTTP/1.1 200 "));
    drop(silent);
}

#[test]
fn a_log_that_grows_is_shown_and_one_that_is_gone_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = testing::written(folder.path());
    let server = Server::start(run.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
    std::fs::remove_file(run.log_path()).unwrap();
    let (head, body) = get(&server, "/metrics.jsonl", "localhost");
    assert!(head.starts_with("HTTP/1.1 503 ") && body.contains("cannot read"), "{head} {body}");
    std::fs::remove_file(run.config_path()).unwrap();
    let (head, body) = get(&server, "/", "localhost");
    assert!(head.starts_with("HTTP/1.1 503 ") && body.contains("holds no run"), "{head} {body}");
}

#[test]
fn an_address_in_use_is_an_error_and_a_dropped_server_gives_it_back() {
    let (folder, server) = server("127.0.0.1:0");
    let address = server.address();
    let said = Server::start(&folder.path().join("run"), address).unwrap_err().to_string();
    assert!(said.contains("cannot serve a page") && said.contains("127.0.0.1:0"), "{said}");
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}
