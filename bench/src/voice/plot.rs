//! The table as a picture: MOS over loss, a line for each path.

use crate::Cell;
use crate::parties::Method;
use std::fmt::Write;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 40.0;
const COLOURS: [&str; 5] = ["#777777", "#0b6e4f", "#c1660c", "#2457a6", "#a61f38"];

/// Two diagrams side by side: independent loss, and bursts.
pub fn svg(cells: &[Cell]) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        2.0 * (WIDTH + LEFT) + 30.0,
        HEIGHT + TOP + 130.0
    );
    for (place, (title, bursts)) in
        [("independent loss", false), ("bursts of 3", true)].into_iter().enumerate()
    {
        let x0 = LEFT + place as f64 * (WIDTH + LEFT);
        diagram(&mut text, x0, title, cells, bursts);
    }
    for (index, method) in Method::ALL.into_iter().enumerate() {
        let (x, y) = (LEFT + 250.0 * (index % 3) as f64, TOP + HEIGHT + 60.0 + 22.0 * (index / 3) as f64);
        let colour = COLOURS[index];
        let _ = writeln!(
            text,
            "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            x + 24.0,
            x + 32.0,
            y + 4.0,
            method.name()
        );
    }
    text.push_str("</svg>\n");
    text
}

fn diagram(text: &mut String, x0: f64, title: &str, cells: &[Cell], bursts: bool) {
    let x = |percent: f64| x0 + (WIDTH - 30.0) * percent / 10.0;
    let y = |mos: f64| TOP + HEIGHT * (4.5 - mos) / 3.5;
    let _ = writeln!(text, "<text x=\"{x0}\" y=\"{}\" font-weight=\"bold\">MOS, {title}</text>", TOP - 16.0);
    for mos in [1.0, 2.0, 3.0, 3.6, 4.0, 4.5] {
        let _ = writeln!(
            text,
            "<line x1=\"{x0}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"#dddddd\"/><text x=\"{}\" y=\"{}\" \
             text-anchor=\"end\">{mos}</text>",
            x(10.0),
            x0 - 6.0,
            y(mos) + 4.0,
            y = y(mos)
        );
    }
    for percent in crate::LOSSES {
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{percent} %</text>",
            x(percent),
            TOP + HEIGHT + 18.0
        );
    }
    for (index, method) in Method::ALL.into_iter().enumerate() {
        // Without loss there are no bursts: the point is the same.
        let own = cells.iter().filter(|cell| cell.method == method);
        let own = own.filter(|cell| cell.loss.percent == 0.0 || (cell.loss.burst > 1.0) == bursts);
        let points: Vec<String> =
            own.map(|cell| format!("{:.1},{:.1}", x(cell.loss.percent), y(cell.score.mos))).collect();
        let colour = COLOURS[index];
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
    }
}
