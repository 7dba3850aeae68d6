//! The figures: that they show what they were given, where they were given it.

#![allow(clippy::unwrap_used)]

use super::{Bar, BarChart, BarSeries, LineChart, MAX_POINTS, ReportError, Scatter, Series};

/// The values of `attribute` in the elements called `tag`, in order.
fn attributes<'a>(svg: &'a str, tag: &str, attribute: &str) -> Vec<&'a str> {
    svg.split('<')
        .filter(|part| part.starts_with(&format!("{tag} ")))
        .filter_map(|part| part.split_once(&format!(" {attribute}=\""))?.1.split_once('"'))
        .map(|(value, _)| value)
        .collect()
}

fn lines(points: Vec<(f64, f64)>) -> LineChart {
    LineChart {
        title: "loss".to_owned(),
        x_label: "step".to_owned(),
        y_label: "NT-Xent".to_owned(),
        series: vec![Series { name: "train".to_owned(), points }],
    }
}

/// The drawn curves, as points: the polylines that are two pixels wide.
fn curves(svg: &str) -> Vec<Vec<(f64, f64)>> {
    let widths = attributes(svg, "polyline", "stroke-width");
    let points = attributes(svg, "polyline", "points");
    let read = |points: &str| {
        let pairs = points.split_whitespace().map(|pair| pair.split_once(',').unwrap());
        pairs.map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).collect()
    };
    widths.iter().zip(points).filter(|(width, _)| **width == "2").map(|(_, points)| read(points)).collect()
}

#[test]
fn a_line_goes_through_its_points() {
    let svg = lines(vec![(0.0, 0.0), (1.0, 1.0), (2.0, 0.0), (4.0, 2.0)]).draw().unwrap();
    let curves = curves(svg.as_str());
    let [a, b, c, d] = curves[0].as_slice() else { unreachable!("{curves:?}") };
    assert!((a.1 - c.1).abs() <= 1.0, "equal values at equal heights");
    assert!((d.0 - c.0 - (c.0 - a.0)).abs() <= 2.0, "twice the step, twice the way");
    assert!((2.0 * (a.1 - b.1) - (a.1 - d.1)).abs() <= 2.0, "twice the value, twice the height");
    assert!(b.1 < a.1, "up is more");
    assert!(svg.as_str().contains("NT-Xent") && svg.as_str().contains("loss"));
}

#[test]
fn what_is_not_finite_breaks_the_line() {
    let gap = f64::NAN;
    let svg = lines(vec![(0.0, 1.0), (1.0, 2.0), (2.0, gap), (3.0, 1.0), (4.0, 2.0), (5.0, 2.0)]);
    let lengths: Vec<usize> = curves(svg.draw().unwrap().as_str()).iter().map(Vec::len).collect();
    assert_eq!(lengths, [2, 3]);
    assert!(matches!(lines(vec![(0.0, gap)]).draw(), Err(ReportError::Empty { .. })));
    assert!(lines(vec![(0.0, f64::INFINITY), (1.0, 5.0)]).draw().is_ok());
    assert!(lines(vec![(0.0, 5.0), (0.0, 5.0)]).draw().is_ok(), "a constant can be drawn");
}

#[test]
fn long_curves_are_thinned_to_their_ends() {
    let count = 10 * MAX_POINTS;
    let svg = lines((0..count).map(|i| (i as f64, i as f64)).collect()).draw().unwrap();
    let curve = &curves(svg.as_str())[0];
    assert_eq!(curve.len(), MAX_POINTS);
    assert!(curve[MAX_POINTS - 1].0 > 700.0 && curve[0].0 < 90.0);
}

fn bars() -> BarChart {
    let bar = |value| Some(Bar { value, half_width: None });
    BarChart {
        title: "accuracy".to_owned(),
        y_label: "%".to_owned(),
        groups: vec!["1 label per class".to_owned(), "all labels".to_owned()],
        series: vec![
            BarSeries { name: "encoder".to_owned(), bars: vec![bar(40.0), bar(80.0)] },
            BarSeries { name: "raw input".to_owned(), bars: vec![bar(20.0), None] },
        ],
        guide: None,
    }
}

/// The heights of the bars: the filled rectangles but the paper and the legend's marks.
fn heights(svg: &str) -> Vec<f64> {
    let all = attributes(svg, "rect", "fill").into_iter().zip(attributes(svg, "rect", "height"));
    let bars = all.filter(|(fill, height)| *fill != "#FFFFFF" && *fill != "none" && *height != "10");
    bars.map(|(_, height)| height.parse().unwrap()).collect()
}

#[test]
fn bars_are_as_high_as_their_values_from_zero() {
    let svg = bars().draw().unwrap();
    let heights = heights(svg.as_str());
    assert_eq!(heights.len(), 3);
    assert!((heights[1] / heights[0] - 2.0).abs() < 0.05, "{heights:?}");
    assert!((heights[0] / heights[2] - 2.0).abs() < 0.05, "{heights:?}");
    for name in ["encoder", "raw input", "1 label", "per class", "all labels"] {
        assert!(svg.as_str().contains(name), "{name}");
    }
}

#[test]
fn error_bars_and_the_guide_are_drawn() {
    let strokes = |chart: &BarChart| chart.draw().unwrap().as_str().matches("<polyline").count();
    let plain = strokes(&bars());
    let mut with = bars();
    with.series[0].bars[0] = Some(Bar { value: 40.0, half_width: Some(3.0) });
    assert_eq!(strokes(&with), plain + 3, "a stem and two caps");
    with.guide = Some(("chance".to_owned(), 10.0));
    assert!(strokes(&with) > plain + 20, "a dashed line");
    assert!(with.draw().unwrap().as_str().contains("chance"));
}

#[test]
fn bars_that_cannot_be_drawn_are_refused_or_left_out() {
    let mut chart = bars();
    chart.series[1].bars.pop();
    assert!(matches!(chart.draw(), Err(ReportError::Length { found: 1, wanted: 2, .. })));
    let mut chart = bars();
    chart.series[0].bars[0] = Some(Bar { value: f64::NAN, half_width: None });
    assert_eq!(heights(chart.draw().unwrap().as_str()).len(), 2);
    chart.series.iter_mut().for_each(|series| series.bars = vec![None, None]);
    assert!(matches!(chart.draw(), Err(ReportError::Empty { .. })));
    let negative = |value| {
        let bar = Some(Bar { value, half_width: Some(1.0) });
        BarChart { series: vec![BarSeries { name: String::new(), bars: vec![bar; 2] }], ..bars() }.draw()
    };
    assert!(negative(-5.0).is_ok() && negative(0.0).is_ok());
}

#[test]
fn the_scatter_has_its_points_and_says_their_classes() {
    let scatter = Scatter {
        title: "map".to_owned(),
        points: vec![[0.0, 0.0], [1.0, 1.0], [f32::NAN, 0.0], [0.5, 0.2]],
        classes: vec![0, 1, 1, 0],
        names: vec!["brick".to_owned(), "tile".to_owned()],
    };
    let svg = scatter.draw().unwrap();
    // Three finite points and two marks of the legend.
    assert_eq!(attributes(svg.as_str(), "circle", "r").len(), 5);
    let colours: std::collections::BTreeSet<_> =
        attributes(svg.as_str(), "circle", "fill").into_iter().collect();
    assert_eq!(colours.len(), 2);
    let short = Scatter { classes: vec![0], ..scatter };
    assert!(matches!(short.draw(), Err(ReportError::Length { .. })));
    assert!(matches!(Scatter::default().draw(), Err(ReportError::Empty { .. })));
}

#[test]
fn more_classes_than_colours_differ_by_shape() {
    let scatter = Scatter {
        title: "map".to_owned(),
        points: (0..40).map(|i| [i as f32, (i % 7) as f32]).collect(),
        classes: (0..40).collect(),
        names: (0..40).map(|i| format!("class {i}")).collect(),
    };
    let svg = scatter.draw().unwrap();
    assert!(svg.as_str().contains("<polygon") && svg.as_str().contains("and 16 more"));
}
