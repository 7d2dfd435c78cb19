//! A history on disk is the history.

use std::io::BufReader;

use raft3d_checkers::history::{
    Answer, HistoryError, MarkKind, Op, Record, Recorder, read_lines, sort, write_lines,
};
use raft3d_checkers::report::{Report, Table};

use crate::making::{SMALL, make};

#[test]
fn what_was_written_is_read_and_judged_again() {
    let made = make(1, &SMALL);
    let operations = made
        .history
        .operations
        .iter()
        .cloned()
        .map(Record::Operation);
    let marks = made.history.marks.iter().cloned().map(Record::Mark);
    let digests = made.history.digests.iter().cloned().map(Record::Digest);
    let finals = made.finals.iter().cloned().map(Record::Finals);
    let records: Vec<Record> = operations
        .chain(marks)
        .chain(digests)
        .chain(finals)
        .collect();
    let mut file = Vec::new();
    write_lines(&mut file, &records).unwrap();
    assert_eq!(
        file.iter().filter(|byte| **byte == b'\n').count(),
        records.len()
    );
    let again = read_lines(&mut BufReader::new(file.as_slice())).unwrap();
    assert_eq!(again, records);
    let (history, finals) = sort(again);
    assert_eq!(raft3d_checkers::check_all(&history, &finals), made.check());
}

#[test]
fn a_line_that_is_no_record_is_named() {
    let made = make(1, &SMALL);
    let records = [Record::Operation(made.history.operations[0].clone())];
    let mut file = Vec::new();
    write_lines(&mut file, &records).unwrap();
    file.extend_from_slice(b"\n{\"operation\":7}\n");
    let error = read_lines(&mut BufReader::new(file.as_slice())).unwrap_err();
    assert!(
        matches!(error, HistoryError::Line { line: 3, .. }),
        "{error}"
    );
}

#[test]
fn many_clients_record_at_once() {
    let recorder = Recorder::new();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let recorder = &recorder;
            scope.spawn(move || {
                for at in 0..100 {
                    let op = Op::CreatePrinter { id: None };
                    let pending = recorder.invoke((client, None), at, None, op);
                    if at % 2 == 0 {
                        recorder.returned(&pending, at + 1, Answer::Never);
                    }
                }
            });
        }
    });
    recorder.mark(7, MarkKind::Quiet, "the end");
    let (history, _) = recorder.sorted();
    assert_eq!((history.operations.len(), history.marks.len()), (800, 1));
    for operation in history.operations {
        let expected = match operation.invoked % 2 {
            0 => (Some(operation.invoked + 1), Answer::Never),
            _ => (None, Answer::Unknown),
        };
        assert_eq!((operation.returned, operation.answer), expected);
    }
}

#[test]
fn a_report_that_was_written_is_read_again() {
    let target = std::env::temp_dir().join(format!("raft3d-report-{}", std::process::id()));
    assert_eq!(Report::read_all(&target).unwrap(), []);
    let mut report = Report::new("simulation", "cargo xtask simulate");
    report.figure("seeds", 100);
    report.violations.push("seed 7 lost a write".to_owned());
    report.tables.push(Table {
        title: "faults".to_owned(),
        head: vec!["kind".to_owned(), "times".to_owned()],
        rows: vec![vec!["crash".to_owned(), "12".to_owned()]],
    });
    let path = report.write(&target).unwrap();
    assert_eq!(Report::read(&path).unwrap(), report);
    report.part = "bench".to_owned();
    report.write(&target).unwrap();
    let parts = Report::read_all(&target).unwrap();
    let parts: Vec<&str> = parts.iter().map(|report| report.part.as_str()).collect();
    assert_eq!(parts, ["bench", "simulation"]);
    std::fs::remove_dir_all(&target).unwrap();
}
