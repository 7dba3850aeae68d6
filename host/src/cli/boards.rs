//! `sedge boards`: the boards that Sedge knows, and what one of them is taken to have.

use std::io::Write;
use std::path::Path;

use sedge_boards::Board;
use sedge_boards::board::detect;

use super::CliError;

/// Flags of `sedge boards`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge boards
  sedge boards rpi4
  sedge boards rpi4 --toml > mine.toml
  sedge boards mine.toml")]
pub struct Args {
    /// A board's name, or a board file to check and explain; without it, all are listed
    #[arg(value_name = "NAME|FILE")]
    board: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "toml")]
    json: bool,
    /// Print the board file itself, to copy and change
    #[arg(long, requires = "board")]
    toml: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.board {
        None => list(args.json, out),
        Some(name) if args.toml => {
            let board = Board::named_or_file(name)?;
            match Board::text_of(name) {
                Some(text) => Ok(out.write_all(text.as_bytes())?),
                None => Err(CliError::Usage(format!(
                    "--toml prints built-in boards, and {name} is a file already (of the board {})",
                    board.name
                ))),
            }
        }
        Some(name) => {
            let board = Board::named_or_file(name)?;
            if args.json {
                writeln!(out, "{}", serde_json::to_string_pretty(&board)?)?;
            } else {
                writeln!(out, "{board}")?;
            }
            Ok(())
        }
    }
}

fn list(json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let boards = Board::names().map(Board::named).collect::<Result<Vec<_>, _>>()?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&boards)?)?;
        return Ok(());
    }
    writeln!(out, "{:<18} {:<38} {:<32} cameras", "board", "what", "sensors")?;
    for board in &boards {
        let sensors: Vec<_> = board.sensors.iter().map(|sensor| sensor.chip.name()).collect();
        let cameras: Vec<_> = board.cameras.iter().map(|camera| camera.name.as_str()).collect();
        let (sensors, cameras) = (sensors.join(", "), cameras.join(", "));
        writeln!(out, "{:<18} {:<38} {sensors:<32} {cameras}", board.name, board.title)?;
    }
    if let Some(here) = detect(Path::new("/")) {
        writeln!(out, "\nThis machine is taken for {}: {}.", here.board.name, here.evidence)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(board: Option<&str>, json: bool, toml: bool) -> Result<String, CliError> {
        let mut out = Vec::new();
        run(&Args { board: board.map(str::to_owned), json, toml }, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_list_has_every_board_and_says_which_this_is() {
        let text = shown(None, false, false).unwrap();
        assert!(Board::names().all(|name| text.lines().any(|line| line.starts_with(name))), "{text}");
        assert!(text.contains("This machine is taken for"), "{text}");
    }

    #[test]
    fn one_board_is_explained() {
        let text = shown(Some("virtual-pi"), false, false).unwrap();
        for said in ["tmp105", "0x48", "/dev/i2c-1", "/dev/video0", "sedge.board=virtual-pi", "line 17"] {
            assert!(text.contains(said), "{said}: {text}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&shown(Some("rpi5"), true, false).unwrap()).unwrap();
        assert_eq!(json["sensors"][0]["chip"], "mpu6050");
    }

    #[test]
    fn the_file_of_a_board_is_that_board() {
        let text = shown(Some("jetson-xavier-nx"), false, true).unwrap();
        let copied = Board::from_toml(&text, "copy").unwrap();
        assert_eq!(copied, Board::named("jetson-xavier-nx").unwrap());
    }

    #[test]
    fn a_board_that_is_not_known_is_answered_with_those_that_are() {
        let text = shown(Some("rpi9"), false, false).unwrap_err().to_string();
        assert!(text.contains("rpi9") && text.contains("jetson-orin-nano"), "{text}");
    }
}
