//! Columns that PyArrow wrote (`goldens/lerobot.py`), read from any row on.

use super::*;

fn golden(file: &str) -> Table {
    Table::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/lerobot").join(file)).unwrap()
}

#[test]
fn numbers_and_lists_are_read_from_any_row_on() {
    let table = golden("data/chunk-000/file-000.parquet");
    assert_eq!(table.rows(), 19);
    let columns = [("frame_index", 1), ("observation.state", 3), ("timestamp", 1)];
    let columns = columns.map(|(name, width)| table.column(name, width).unwrap());
    // Rows 0 to 5 are of episode 0, 6 to 14 of episode 1, and row groups end after eight rows.
    for (first, last) in [(0, 19), (5, 9), (8, 16), (18, 19), (3, 3)] {
        let mut rows = Vec::new();
        let mut give = |block: &[f64]| {
            rows.extend(block.chunks_exact(5).map(<[f64]>::to_vec));
            Ok(true)
        };
        table.numbers(&columns, first..last, &mut give).unwrap();
        assert_eq!(rows.len() as u64, last - first);
        for (row, values) in (first..).zip(rows) {
            let (episode, frame) = if row < 6 {
                (0, row)
            } else if row < 15 {
                (1, row - 6)
            } else {
                (2, row - 15)
            };
            let state = f64::from((episode as f64 + frame as f64 / 100.0) as f32);
            let time = f64::from(frame as f32 / 10.0);
            assert_eq!(values, [frame as f64, f64::from(episode), frame as f64, state, time], "row {row}");
        }
    }
    assert!(table.numbers(&columns, 10..20, &mut |_| Ok(true)).is_err());
    assert!(
        table.numbers(&[table.column("observation.state", 2).unwrap()], 0..4, &mut |_| Ok(true)).is_err()
    );
    assert!(matches!(table.column("absent", 1), Err(DataError::Feature { .. })));
    let text = golden("meta/tasks.parquet");
    let mut names = Vec::new();
    let column = text.column("__index_level_0__", 1).unwrap();
    text.bytes(column, 1..2, &mut |name| {
        names.extend(name.map(<[u8]>::to_vec));
        Ok(true)
    })
    .unwrap();
    assert_eq!(names, [b"open the drawer"]);
    assert!(text.numbers(&[column], 0..1, &mut |_| Ok(true)).is_err());
}
