//! What a machine that cannot carry Sedge is told, before anything is written to it. The machine lies about itself through
//! programs of its own, so its shell may have none built in, as that of busybox has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod sandbox;

use sandbox::{Sandbox, Tools, daemon};
use sedge_deploy::flash::{Deployment, FlashOptions};
use sedge_deploy::payload::{BoardFile, Daemon};
use sedge_deploy::{Connection, DeployError, Host};

fn refusal(options: FlashOptions) -> DeployError {
    match Deployment::prepare(options, &mut |_, _| {}) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

fn answers(board: &Sandbox, program: &str, answer: &str) {
    board.write_program(program, &format!("#!/bin/sh\necho '{answer}'\n"));
}

#[test]
fn machines_that_cannot_carry_sedge_are_told_why() {
    let Some(board) = Sandbox::start(Tools::Ours) else { return };
    let uname = board.read("bin/uname");
    let options = || board.options(Some("well"));

    board.write_program("uname", "#!/bin/sh\ncase $1 in -s) echo Linux ;; *) echo aarch64 ;; esac\n");
    let error = refusal(options());
    assert!(matches!(error, DeployError::Architecture { .. }), "{error}");
    assert!(error.to_string().contains("--target aarch64-unknown-linux-gnu"), "{error}");
    // A 64-bit kernel under a 32-bit system.
    answers(&board, "getconf", "32");
    assert!(refusal(options()).to_string().contains("armv7-unknown-linux-gnueabihf"));
    board.write_program("uname", "#!/bin/sh\ncase $1 in -s) echo Linux ;; *) echo riscv64 ;; esac\n");
    assert!(refusal(options()).to_string().contains("riscv64"));
    board.write_program("uname", "#!/bin/sh\ncase $1 in -s) echo Darwin ;; *) echo arm64 ;; esac\n");
    assert!(refusal(options()).to_string().contains("Darwin"));
    board.write_program("uname", &uname);
    if !uname.starts_with("#!") {
        board.write_program("uname", "#!/bin/sh\ncase $1 in -s) echo Linux ;; *) echo x86_64 ;; esac\n");
    }

    board
        .write_program("getconf", "#!/bin/sh\ncase $1 in LONG_BIT) echo 64 ;; *) echo 'glibc 2.1' ;; esac\n");
    // This test is itself a program that needs a C library.
    let itself = Daemon::Prebuilt(std::env::current_exe().unwrap());
    let error = refusal(FlashOptions { daemon: itself.clone(), ..options() });
    assert!(matches!(&error, DeployError::Glibc { found: Some(found), .. } if found.minor == 1), "{error}");
    std::fs::remove_file(board.root().join("bin/getconf")).unwrap();
    let error = refusal(FlashOptions { daemon: itself, ..options() });
    assert!(matches!(&error, DeployError::Glibc { found: None, .. }), "{error}");

    let df = board.read("bin/df");
    board.write_program("df", "#!/bin/sh\nprintf 'Filesystem 1024-blocks Used Available Capacity Mounted\\n/dev/x 9 9 900 9% /\\n'\n");
    let error = refusal(options());
    assert!(
        matches!(&error, DeployError::Space { found_kib: 900, needed_kib, .. } if *needed_kib > 8192),
        "{error}"
    );
    board.write_program("df", "#!/bin/sh\nprintf 'x\\n/dev/x 9 9 90000000 9% /\\n'\n");
    drop(df);

    std::fs::write(board.root().join("proc/meminfo"), "MemTotal: 400000 kB\n").unwrap();
    assert!(refusal(options()).to_string().contains("memory.least_mb"));
    std::fs::write(board.root().join("proc/meminfo"), "MemTotal: 970000 kB\n").unwrap();
    let text = BoardFile::named_or_file("rpi4").unwrap().text.replace("memory_mb = 512", "memory_mb = 900");
    let path = board.root().join("tmp/greedy.toml");
    std::fs::write(&path, text).unwrap();
    let greedy = BoardFile::named_or_file(path.to_str().unwrap()).unwrap();
    assert!(refusal(FlashOptions { board: greedy, ..options() }).to_string().contains("budget"));
    let mut large = board.bundle("large");
    large.path = board.root().join("tmp/large.sedge");
    std::fs::File::create(&large.path).unwrap().set_len(300 << 20).unwrap();
    let error = refusal(FlashOptions { bundle: Some(large), ..options() });
    assert!(error.to_string().contains("the bundle takes 600"), "{error}");

    assert!(matches!(refusal(board.options(None)), DeployError::NoBundle { .. }));
    let text = Daemon::Prebuilt(board.bundle("well").path);
    assert!(refusal(FlashOptions { daemon: text, ..options() }).to_string().contains("no ELF program"));

    std::fs::remove_file(board.root().join("bin/systemctl")).unwrap();
    assert!(refusal(options()).to_string().contains("lacks systemctl"));
    assert!(!board.root().join("opt").exists(), "a refusal writes nothing");
}

#[test]
fn whoever_is_not_root_needs_sudo_without_a_password() {
    let Some(board) = Sandbox::start(Tools::Ours) else { return };
    board.write_program("id", "#!/bin/sh\ncase $1 in -u) echo ${AS_ROOT:-1000} ;; *) exit 1 ;; esac\n");
    let error = refusal(board.options(Some("well")));
    assert!(matches!(error, DeployError::Privileges { .. }), "{error}");
    assert!(error.to_string().contains("there is no sudo"), "{error}");
    board.write_program("sudo", "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n");
    assert!(refusal(board.options(Some("well"))).to_string().contains("NOPASSWD"));
    assert!(!board.root().join("opt").exists(), "a refusal writes nothing");
    // With it, everything is done through it.
    board.write_program(
        "sudo",
        "#!/bin/sh\n[ $1 = -n ] || exit 1\nshift\necho sudo >>/var/log/sudo\nAS_ROOT=0 exec \"$@\"\n",
    );
    let deployment = Deployment::prepare(board.options(Some("well")), &mut |_, _| {}).unwrap();
    deployment.apply(&mut |_, _| {}).unwrap();
    board.assert_in_service("a", "well");
    assert!(board.read("var/log/sudo").lines().count() > 8);
}

#[test]
fn what_cannot_be_reached_is_told_with_the_words_of_ssh() {
    let Some(mut board) = Sandbox::start(Tools::Ours) else { return };
    let wrong = Connection { ssh: vec!["no-such-ssh".to_owned()], ..board.connection() };
    let error = refusal(FlashOptions { connection: wrong, ..board.options(Some("well")) });
    assert!(error.to_string().contains("openssh-client"), "{error}");
    let other = Connection { host: Host::new("nobody-at-all@127.0.0.1").unwrap(), ..board.connection() };
    let error = refusal(FlashOptions { connection: other, ..board.options(Some("well")) });
    assert!(
        matches!(&error, DeployError::Connect { .. }) && error.to_string().contains("ermission denied"),
        "{error}"
    );
    board.cut();
    let error = refusal(board.options(Some("well")));
    assert!(error.to_string().contains("onnection refused"), "{error}");
}

#[test]
fn a_daemon_that_does_not_start_there_is_found_before_it_is_tried() {
    let Some(board) = Sandbox::start(Tools::Ours) else { return };
    let mut bytes = std::fs::read(daemon()).unwrap();
    // The entry point of a 64-bit ELF header.
    bytes[24..32].fill(0);
    let path = board.root().join("tmp/broken");
    std::fs::write(&path, bytes).unwrap();
    let options = FlashOptions { daemon: Daemon::Prebuilt(path), ..board.options(Some("well")) };
    let error = Deployment::prepare(options, &mut |_, _| {}).unwrap().apply(&mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("does not start here"), "{error}");
    assert_eq!(board.current(), None);
}
