//! Pictures of what was measured, as SVG.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;

use crate::beside::{Results, rounds};
use crate::load::QUANTILES;
use crate::measure::Measured;
use crate::stats::short;
use crate::systems::System;

/// Size of a picture, in points.
const SIZE: (u32, u32) = (800, 480);
/// Length of a line in the legend, in points.
const LEGEND_LINE: i32 = 18;
/// Radius of a measured point, in points.
const POINT: u32 = 3;
/// Start of the scale of latencies: it is logarithmic.
const SMALLEST_MS: f64 = 0.01;
/// Numbers of clients whose latencies are drawn.
const LATENCY_CLIENTS: [usize; 2] = [64, 256];

/// One line of a picture.
struct Line {
    name: String,
    color: RGBColor,
    width: u32,
    points: Vec<(f64, f64)>,
}

/// Draws writes a second over clients, and latency over percentiles, into `folder`. Answers the
/// names of the files.
///
/// # Errors
/// A file cannot be written.
pub fn writes(results: &Results<usize>, folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    let throughput = PathBuf::from("bench-throughput.svg");
    draw_throughput(&folder.join(&throughput), &throughput_lines(results))?;
    let latency = PathBuf::from("bench-latency.svg");
    draw_latency(&folder.join(&latency), &latency_lines(results))?;
    Ok(vec![throughput, latency])
}

fn color(system: System) -> RGBColor {
    match system {
        System::Raft3d => RGBColor(0, 90, 181),
        System::Against => RGBColor(90, 150, 90),
        System::Etcd => RGBColor(220, 110, 20),
    }
}

/// Medians of the rounds.
fn throughput_lines(results: &Results<usize>) -> Vec<Line> {
    let line = |system: System| {
        let of_system = results.iter().filter(|((_, of), _)| *of == system);
        let points = of_system.map(|((clients, _), measured)| {
            let median = rounds(measured, |one| one.outcome.per_second()).median();
            (*clients as f64, median)
        });
        Line {
            name: system.name().to_owned(),
            color: color(system),
            width: 2,
            points: points.collect(),
        }
    };
    let systems: BTreeSet<System> = results.keys().map(|(_, system)| *system).collect();
    systems.into_iter().map(line).collect()
}

/// Medians of the rounds at each percentile; x is the number of nines.
fn latency_lines(results: &Results<usize>) -> Vec<Line> {
    let drawn = results
        .iter()
        .filter(|((clients, _), _)| LATENCY_CLIENTS.contains(clients));
    let line = |((clients, system), measured): (&(usize, System), &Vec<Measured>)| Line {
        name: format!("{}, {clients} clients", system.name()),
        color: color(*system),
        width: if *clients == LATENCY_CLIENTS[0] { 2 } else { 1 },
        points: percentiles(measured),
    };
    drawn.map(line).collect()
}

fn percentiles(measured: &[Measured]) -> Vec<(f64, f64)> {
    let below_all = QUANTILES.iter().filter(|quantile| **quantile < 10_000);
    let point = |quantile: &u32| {
        let nines = -(1.0 - f64::from(*quantile) / 10_000.0).log10();
        let median = rounds(measured, |one| one.outcome.latency_ms(*quantile)).median();
        (nines, median)
    };
    below_all.map(point).collect()
}

fn draw_throughput(path: &Path, lines: &[Line]) -> Result<()> {
    let (x_max, y_max) = largest(lines);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Writes a second over clients", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (1.0..x_max.max(2.0)).log_scale().base(2.0),
            0.0..y_max * 1.05,
        )?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .x_desc("clients")
        .y_desc("writes a second")
        .x_label_formatter(&|clients| format!("{clients:.0}"))
        .y_label_formatter(&|writes| format!("{writes:.0}"))
        .draw()?;
    draw_lines(&mut chart, lines)?;
    Ok(root.present()?)
}

fn draw_latency(path: &Path, lines: &[Line]) -> Result<()> {
    let (nines_max, y_max) = largest(lines);
    let ys = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let y_min = ys.fold(y_max, f64::min).max(SMALLEST_MS);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Latency of writes by percentile", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            0.0..nines_max.max(1.0) + 0.05,
            (y_min..y_max * 1.2).log_scale(),
        )?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .x_labels(4)
        .x_desc("percentile")
        .y_desc("milliseconds")
        .x_label_formatter(&|nines| short((1.0 - 10_f64.powf(-nines)) * 100.0))
        .draw()?;
    draw_lines(&mut chart, lines)?;
    Ok(root.present()?)
}

/// The largest x and the largest y of all points; never below 1, so that there is a range.
fn largest(lines: &[Line]) -> (f64, f64) {
    let points = lines.iter().flat_map(|line| &line.points);
    points.fold((1.0, 1.0), |(x_max, y_max), (x, y)| {
        (x.max(x_max), y.max(y_max))
    })
}

fn draw_lines<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    lines: &[Line],
) -> Result<()>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for line in lines {
        let style = line.color.stroke_width(line.width);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(POINT))?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + LEGEND_LINE, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    Ok(())
}
