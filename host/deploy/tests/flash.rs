//! Flashing a board over a real ssh connection: the whole way, every way it can fail, and every place where it can be cut
//! off. The board is a folder (`sandbox`), its daemon a program that behaves as its bundle says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod sandbox;

use sandbox::{Sandbox, Tools, within};
use sedge_deploy::flash::{Deployment, FlashOptions, Flashed, Step, rollback};
use sedge_deploy::status::{SlotState, Trial, status};
use sedge_deploy::{DeployError, Prefix, Slot};

fn flash(options: FlashOptions) -> Result<Flashed, DeployError> {
    Deployment::prepare(options, &mut |_, _| {})?.apply(&mut |_, _| {})
}

fn there_and_back(tools: Tools) {
    let Some(board) = Sandbox::start(tools) else { return };
    let first = flash(board.options(Some("well"))).unwrap();
    assert_eq!((first.slot, first.before), (Slot::A, None));
    assert_eq!(first.record.version, "sedged 0.1.0");
    board.assert_in_service("a", "well");
    assert!(board.root().join("etc/systemd/system/multi-user.target.wants/sedged.service").is_symlink());
    assert!(
        board.root().join("etc/systemd/system/multi-user.target.wants/sedge-prepare.service").is_symlink()
    );
    let users = board.read("var/log/users");
    assert!(users.contains("--system"), "{users}");
    // Into the groups that there are, and no others.
    assert_eq!(users.lines().filter(|line| line.starts_with("-a -G")).count(), 3, "{users}");

    let second = flash(board.options(Some("better"))).unwrap();
    assert_eq!((second.slot, second.before), (Slot::B, Some(Slot::A)));
    board.assert_in_service("b", "better");
    let shown = status(board.connection(), &Prefix::default()).unwrap();
    assert_eq!((shown.current, shown.trial, shown.service.as_str()), (Some(Slot::B), Trial::None, "active"));
    assert_eq!(shown.slot(Slot::A), &SlotState::Whole(first.record.clone()));
    assert_eq!(shown.slot(Slot::B), &SlotState::Whole(second.record.clone()));
    assert_eq!(shown.daemon.as_ref().unwrap()["bundle_digest"], second.record.bundle_digest.as_str());
    let text = shown.to_string();
    for said in [
        "* b  sedged 0.1.0, board rpi4",
        "service active, enabled",
        "imu: working, 7 readings",
        "confirmed b",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!((&json["current"], &json["a"]["state"]), (&"b".into(), &"whole".into()));

    let back = rollback(board.connection(), &Prefix::default(), Sandbox::health(), &mut |_, _| {}).unwrap();
    assert_eq!((back.slot, back.before), (Slot::A, Some(Slot::B)));
    board.assert_in_service("a", "well");
    // Each bundle has its own folder of what it learned, to which going back leads.
    assert_ne!(first.record.state_folder, second.record.state_folder);
    // Without a bundle, the one in service is kept, and what it learned with it.
    let kept = flash(board.options(None)).unwrap();
    assert_eq!(kept.record.state_folder, first.record.state_folder);
    assert_eq!(kept.record.bundle_digest, first.record.bundle_digest);
    board.assert_in_service("b", "well");
    let fresh = flash(FlashOptions { fresh: true, ..board.options(None) }).unwrap();
    assert!(fresh.record.state_folder.starts_with(&format!("{}-", first.record.state_folder)));
    board.assert_in_service("a", "well");
}

#[test]
fn a_board_with_busybox_is_flashed_shown_and_rolled_back() {
    there_and_back(Tools::Busybox);
}

#[test]
fn a_board_with_the_tools_of_this_machine_is_flashed_shown_and_rolled_back() {
    there_and_back(Tools::Ours);
}

#[test]
fn a_slot_that_is_not_healthy_is_taken_back_with_the_reason() {
    let Some(board) = Sandbox::any() else { return };
    flash(board.options(Some("well"))).unwrap();
    for (behaviour, reason, journal) in [
        ("crash", "the service is failed", "the bundle is of another format"),
        ("crash-later", "the service is failed", "out of memory"),
        ("silent", "has written no status.json", "starting as silent"),
        ("blind", "has made no embedding since it was started", "starting as blind"),
        ("other-bundle", "instead of", "starting as other-bundle"),
    ] {
        let error = flash(board.options(Some(behaviour))).unwrap_err();
        let DeployError::Reverted(reverted) = &error else { panic!("{behaviour}: {error}") };
        assert!(reverted.reason.contains(reason), "{behaviour}: {error}");
        assert!(reverted.journal.contains(journal), "{behaviour}: {error}");
        assert_eq!((reverted.back_to, reverted.went_back), (Some(Slot::A), true));
        board.assert_in_service("a", "well");
        assert!(!board.root().join("opt/sedge/trial").exists());
        assert!(board.read("opt/sedge/outcome").starts_with("reverted b was not healthy"));
    }
    // What has nothing to embed is healthy where that is said.
    let mut options = board.options(Some("blind"));
    options.health.least_embeddings = 0;
    assert_eq!(flash(options).unwrap().slot, Slot::B);
}

#[test]
fn a_first_slot_that_is_not_healthy_leaves_nothing_in_service() {
    let Some(board) = Sandbox::any() else { return };
    let error = flash(board.options(Some("crash"))).unwrap_err().to_string();
    assert!(error.contains("Nothing was in service before"), "{error}");
    assert_eq!((board.current(), board.service()), (None, None));
    let error =
        rollback(board.connection(), &Prefix::default(), Sandbox::health(), &mut |_, _| {}).unwrap_err();
    // The slot is whole still, and is tried again.
    assert!(matches!(error, DeployError::Reverted(_)), "{error}");
    assert_eq!(flash(board.options(Some("well"))).unwrap().slot, Slot::A);
}

#[test]
fn a_connection_cut_in_any_step_leaves_what_was_in_service() {
    let Some(mut board) = Sandbox::any() else { return };
    flash(board.options(Some("well"))).unwrap();
    let service = board.service();
    let mut steps = vec![];
    let deployment = Deployment::prepare(board.options(Some("better")), &mut |_, _| {}).unwrap();
    deployment.apply(&mut |step, what| steps.push((step, what.to_owned()))).unwrap();
    assert_eq!(steps.iter().filter(|(step, _)| *step == Step::Send).count(), 6);
    assert_eq!(steps.last().unwrap().0, Step::Trial);
    rollback(board.connection(), &Prefix::default(), Sandbox::health(), &mut |_, _| {}).unwrap();
    assert_ne!(board.service(), service);
    let service = board.service();
    for (at, name) in steps.iter().enumerate() {
        let deployment = Deployment::prepare(board.options(Some("better")), &mut |_, _| {}).unwrap();
        let mut step_number = 0;
        let error = deployment
            .apply(&mut |_, _| {
                if step_number == at {
                    board.cut();
                }
                step_number += 1;
            })
            .unwrap_err();
        assert!(
            matches!(&error, DeployError::ConnectionLost { step, .. } if *step == name.0),
            "{name:?}: {error}"
        );
        board.listen();
        board.assert_in_service("a", "well");
        assert_eq!(board.service(), service, "{name:?}: the service was restarted");
        let shown = status(board.connection(), &Prefix::default()).unwrap();
        let whole = matches!(shown.slot(Slot::B), SlotState::Whole(_));
        // Whole before its sums are taken away, and after they are there.
        assert_eq!(whole, name.0 == Step::Clear || name.0 == Step::Trial, "{name:?}");
    }
    assert_eq!(flash(board.options(Some("better"))).unwrap().slot, Slot::B);
    board.assert_in_service("b", "better");
}

#[test]
fn a_connection_cut_in_the_middle_of_a_file_leaves_what_was_in_service() {
    let Some(mut board) = Sandbox::any() else { return };
    flash(board.options(Some("well"))).unwrap();
    let large = board.bundle("large");
    let mut bytes = std::fs::read(&large.path).unwrap();
    bytes.resize(96 << 20, b'\n');
    std::fs::write(&large.path, bytes).unwrap();
    let options = FlashOptions { bundle: Some(large), ..board.options(None) };
    let deployment = Deployment::prepare(options, &mut |_, _| {}).unwrap();
    let part = board.root().join("opt/sedge/b/bundle.sedge.part");
    let error = std::thread::scope(|scope| {
        let flashing = scope.spawn(|| deployment.apply(&mut |_, _| {}).unwrap_err());
        within(20, "some of the bundle is there", || part.metadata().is_ok_and(|data| data.len() > 1 << 16));
        board.cut();
        flashing.join().unwrap()
    });
    assert!(matches!(error, DeployError::ConnectionLost { step: Step::Send, .. }), "{error}");
    assert!(error.to_string().contains("untouched"), "{error}");
    board.assert_in_service("a", "well");
    assert!(!board.root().join("opt/sedge/b/bundle.sedge").exists());
    assert!(!board.root().join("opt/sedge/b/SHA256SUMS").exists());
    board.listen();
    assert_eq!(flash(board.options(Some("better"))).unwrap().slot, Slot::B);
}

/// Begins a trial and cuts the connection in it.
fn cut_in_trial(board: &mut Sandbox, behaviour: &str) {
    let deployment = Deployment::prepare(board.options(Some(behaviour)), &mut |_, _| {}).unwrap();
    let marker = board.root().join("opt/sedge/trial");
    let error = std::thread::scope(|scope| {
        let flashing = scope.spawn(|| deployment.apply(&mut |_, _| {}).unwrap_err());
        within(20, "the trial begins", || marker.exists());
        board.cut();
        flashing.join().unwrap()
    });
    assert!(matches!(error, DeployError::ConnectionLost { step: Step::Trial, .. }), "{error}");
}

#[test]
fn a_trial_whose_connection_is_cut_ends_by_itself() {
    let Some(mut board) = Sandbox::any() else { return };
    flash(board.options(Some("well"))).unwrap();
    cut_in_trial(&mut board, "blind");
    let outcome = board.root().join("opt/sedge/outcome");
    let ended = |board: &Sandbox, word: &str| {
        within(20, "the trial ends", || !board.root().join("opt/sedge/trial").exists() && outcome.exists());
        within(20, word, || board.read("opt/sedge/outcome").starts_with(word) && board.service().is_some());
    };
    ended(&board, "reverted b");
    board.assert_in_service("a", "well");
    board.listen();
    cut_in_trial(&mut board, "better");
    ended(&board, "confirmed b");
    board.assert_in_service("b", "better");
    board.listen();
    let shown = status(board.connection(), &Prefix::default()).unwrap();
    assert_eq!((shown.current, shown.trial), (Some(Slot::B), Trial::None));
}

/// Kills the trial's process on the board, as a loss of power does.
fn lose_power_in_trial(board: &mut Sandbox) {
    flash(board.options(Some("well"))).unwrap();
    cut_in_trial(board, "blind");
    let marker = board.read("opt/sedge/trial");
    let pid = marker.split(' ').nth(1).unwrap();
    assert!(std::process::Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    within(5, "its process is gone", || {
        !std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists()
            || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.is_empty())
    });
    assert_eq!(board.current().as_deref(), Some("b"));
}

#[test]
fn after_a_loss_of_power_in_a_trial_the_next_boot_goes_back() {
    let Some(mut board) = Sandbox::any() else { return };
    lose_power_in_trial(&mut board);
    // In the same boot the unit leaves a trial alone: starting the daemon for it may start the unit.
    let unit = board.read("etc/systemd/system/sedge-prepare.service");
    let command = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=/bin/sh ")).next().unwrap();
    let words: Vec<&str> = ["/bin/sh"].into_iter().chain(command.split(' ')).collect();
    assert!(board.run(&words).status.success());
    assert_eq!(board.current().as_deref(), Some("b"));
    board.boot("second");
    let output = board.run(&words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(board.current().as_deref(), Some("a"));
    assert!(!board.root().join("opt/sedge/trial").exists());
    assert!(board.read("opt/sedge/outcome").contains("the machine went down in the trial"));
    board.run(&["/bin/sh", "-c", "systemctl restart sedged.service"]);
    board.assert_in_service("a", "well");
}

#[test]
fn a_trial_that_nobody_ends_is_ended_by_the_next_flash() {
    let Some(mut board) = Sandbox::any() else { return };
    lose_power_in_trial(&mut board);
    board.listen();
    board.boot("second");
    let shown = status(board.connection(), &Prefix::default()).unwrap();
    assert_eq!((shown.current, shown.trial), (Some(Slot::B), Trial::Abandoned));
    // The bundle that is kept is that of the slot gone back to.
    assert_eq!(flash(board.options(None)).unwrap().slot, Slot::B);
    board.assert_in_service("b", "well");
}

#[test]
fn a_slot_that_was_changed_is_never_put_in_service() {
    let Some(board) = Sandbox::any() else { return };
    flash(board.options(Some("well"))).unwrap();
    flash(board.options(Some("better"))).unwrap();
    let bundle = board.root().join("opt/sedge/a/bundle.sedge");
    std::fs::write(&bundle, board.read("opt/sedge/a/bundle.sedge") + "x").unwrap();
    let error =
        rollback(board.connection(), &Prefix::default(), Sandbox::health(), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, DeployError::NothingBefore { slot: Slot::A, .. }), "{error}");
    board.assert_in_service("b", "better");
}

#[test]
fn of_two_hosts_that_flash_one_board_only_the_later_goes_on() {
    let Some(board) = Sandbox::any() else { return };
    flash(board.options(Some("well"))).unwrap();
    let slow = Deployment::prepare(board.options(Some("crash")), &mut |_, _| {}).unwrap();
    let mut other = Some(Deployment::prepare(board.options(Some("better")), &mut |_, _| {}).unwrap());
    let error = slow
        .apply(&mut |_, what| {
            if what == "bundle.sedge"
                && let Some(other) = other.take()
            {
                other.apply(&mut |_, _| {}).unwrap();
            }
        })
        .unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
    board.assert_in_service("b", "better");
}
