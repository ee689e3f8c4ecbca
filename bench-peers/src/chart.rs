//! The chart: for each workload and size one bar a store, as long as its share of the fastest whole store's rate.

use std::fmt::Write as _;

use crate::job::WORKLOADS;
use crate::report::Report;

/// One for each store; ours stands out.
const COLOURS: [&str; 8] =
    ["#d1495b", "#9aa5b1", "#6b7a8a", "#2e86ab", "#5fa8d3", "#7fb069", "#c9ada7", "#8d6a9f"];
const BAR: usize = 12;
const GAP: usize = 20;
const PANEL: usize = 170;
const HEIGHT: usize = 110;
const LEFT: usize = 20;
/// What the line of names needs.
const WIDTH_MIN: usize = 580;
const TOP: usize = 50;

/// The chart as a document of SVG.
pub(crate) fn draw(report: &Report) -> String {
    let (names, sizes) = (report.names(), report.sizes());
    let group = names.len() * BAR + GAP;
    let width = (2 * LEFT + sizes.len() * group).max(WIDTH_MIN);
    let height = TOP + WORKLOADS.len() * PANEL;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    legend(&mut svg, &names);
    for (workload, title) in WORKLOADS.iter().enumerate() {
        let base = TOP + workload * PANEL + HEIGHT + 30;
        text(
            &mut svg,
            LEFT,
            base - HEIGHT - 16,
            &format!("{title}: share of the fastest; above it its GiB/s"),
            "bold",
        );
        for (column, &size) in sizes.iter().enumerate() {
            let left = LEFT + column * group;
            text(&mut svg, left, base + 14, &crate::plan::size_name(size), "normal");
            bars(&mut svg, report, size, workload, left, base);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn bars(svg: &mut String, report: &Report, size: usize, workload: usize, left: usize, base: usize) {
    let Some((_, best)) = report.best(size, workload, true) else { return };
    for (index, name) in report.names().into_iter().enumerate() {
        let Some(cell) = report.cell(name, size, workload) else { continue };
        // What lost values may be beyond the best; it is cut at the top and drawn pale.
        let share = (cell.gib_a_second / best).min(1.0);
        let tall = (share * HEIGHT as f64).max(1.0);
        let (x, y) = (left + index * BAR, base as f64 - tall);
        let opacity = if cell.is_whole() { 1.0 } else { 0.35 };
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y:.1}\" width=\"{}\" height=\"{tall:.1}\" fill=\"{colour}\" opacity=\"{opacity}\"><title>{name}: {:.2} GiB/s</title></rect>",
            BAR - 1,
            cell.gib_a_second
        );
        if share >= 1.0 && cell.is_whole() {
            text(svg, x, base - HEIGHT - 3, &format!("{best:.2}"), "normal");
        }
    }
}

fn legend(svg: &mut String, names: &[&str]) {
    let mut x = LEFT;
    for (index, name) in names.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"12\" width=\"10\" height=\"10\" fill=\"{colour}\"/>"
        );
        text(svg, x + 13, 21, name, "normal");
        x += 25 + 6 * name.len();
    }
    text(svg, LEFT, 40, "Pale: lost values on the way.", "normal");
}

fn text(svg: &mut String, x: usize, y: usize, words: &str, weight: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" font-weight=\"{weight}\">{words}</text>");
}
