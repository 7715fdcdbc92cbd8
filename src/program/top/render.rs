//! Draws the state of a cluster on a terminal of any size. The functions of this file read nothing
//! but their arguments.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, GraphType, Paragraph, Row, Table};

use super::axis;
use super::model::{Model, State};
use super::plain::{self, HEADERS, cells};
use unisono_terminal::output::PercentG;

/// The minimum width of the terminal, in columns, for showing the faults beside the curve instead
/// of below it.
const WIDE: u16 = 110;

/// The minimum height of the terminal, in lines, for reserving a line for the bottleneck. Because
/// of the reserved line, nothing moves when a bottleneck appears.
const HIGH: u16 = 16;

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, has_colours: bool) {
    let paint = Paint { has_colours };
    let n_tasks = u16::try_from(model.tasks.len()).unwrap_or(u16::MAX);
    let area = frame.area();
    let most = (area.height / 2).max(2);
    let bottleneck = model.bottleneck();
    let rows = [
        Constraint::Length(1),
        Constraint::Length((bottleneck.is_some() || area.height >= HIGH).into()),
        Constraint::Length(n_tasks.saturating_add(1).min(most)),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [title, below_title, tasks, rest, foot] = Layout::vertical(rows).areas(area);
    draw_title(frame, title, model, paint);
    let bottleneck = bottleneck.unwrap_or_default();
    frame.render_widget(Line::styled(bottleneck, paint.of(&State::Waits)), below_title);
    draw_tasks(frame, tasks, model, paint);
    let faults = model.faults();
    let [curve, list] = if area.width >= WIDE {
        let columns = [Constraint::Min(0), Constraint::Length(area.width * 2 / 5)];
        Layout::horizontal(columns).areas(rest)
    } else {
        let wanted = u16::try_from(faults.len()).unwrap_or(u16::MAX).clamp(1, 6) + 1;
        let rows = [Constraint::Min(0), Constraint::Length(wanted)];
        Layout::vertical(rows).areas(rest)
    };
    draw_curve(frame, curve, model, paint);
    draw_faults(frame, list, &faults, paint);
    frame.render_widget(Paragraph::new("q quits").style(paint.dim()), foot);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let summary = plain::summary_within(model, area.width.into());
    let room = usize::from(area.width).saturating_sub(summary.chars().count() + 2);
    let title = cut(&format!("unisono top {}", model.source), room);
    let summary = Line::styled(summary, paint.bold());
    // If there is no room for the title, the summary begins at the left, so that only the end of
    // the summary is cut off.
    let summary = if title.is_empty() { summary } else { summary.right_aligned() };
    frame.render_widget(Line::styled(title, paint.bold()), area);
    frame.render_widget(summary, area);
}

/// Cuts off the end of a title that is longer than `room`. Returns an empty title if the rest would
/// be too short to be useful.
fn cut(title: &str, room: usize) -> String {
    const LEAST: usize = 16;
    match title.chars().count() {
        length if length <= room => title.to_owned(),
        _ if room < LEAST => String::new(),
        _ => title.chars().take(room - 1).chain(['…']).collect(),
    }
}

fn draw_tasks(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let rows = model.tasks.iter().map(|task| {
        let wait = plain::wait(task);
        let [name, state, numbers @ ..] = cells(task).map(Line::from);
        let numbers = numbers.map(Line::right_aligned);
        let cells = [name, state].into_iter().chain(numbers).chain([Line::from(wait)]);
        Row::new(cells).style(paint.of(&task.state))
    });
    let longest = model.tasks.iter().map(|task| task.name.len()).max().unwrap_or(0);
    let widths = [
        Constraint::Length(u16::try_from(longest.clamp(8, 21)).expect("it is small")),
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let align = |(column, name)| {
        let line = Line::from(name);
        if column < 2 { line } else { line.right_aligned() }
    };
    let header = HEADERS.into_iter().enumerate().map(align).chain([Line::from("WAITS FOR")]);
    let table = Table::new(rows, widths).header(Row::new(header).style(paint.head()));
    frame.render_widget(table, area);
}

fn draw_curve(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let block = Block::new().borders(Borders::TOP).border_style(paint.dim());
    let (Some(ticks), Some(first), Some(newest)) =
        (model.loss_axis, model.losses.first(), model.losses.last())
    else {
        let text =
            if model.losses.is_empty() { "no loss is known yet" } else { "no loss is finite" };
        frame.render_widget(Paragraph::new(text).block(block.title(" loss ")), area);
        return;
    };
    let (low, high) = (ticks.low(), ticks.high());
    let label = |value: f64| PercentG::new(value).to_string();
    let largest = model.losses.iter().map(|(_, loss)| *loss).fold(f64::NEG_INFINITY, f64::max);
    let title = match largest > high {
        true => format!(" loss (largest: {}) ", PercentG::new(largest).with_precision(4)),
        false => " loss ".to_owned(),
    };
    // A loss outside of the axis is drawn at the end of the axis. NaN is not drawn.
    let points: Vec<_> = model
        .losses
        .iter()
        .filter(|(_, loss)| !loss.is_nan())
        .map(|(step, loss)| (*step, loss.clamp(low, high)))
        .collect();
    let dataset = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(paint.coloured(Color::Cyan))
        .data(&points);
    // The border, the x axis and its labels take one row each.
    let n_rows = usize::from(area.height.saturating_sub(3));
    let values = ticks.values();
    let losses = if 2 * n_rows >= 3 * values.len() { values } else { vec![low, high] };
    let steps = axis::steps(first.0, newest.0, model.training_steps);
    let chart = Chart::new(vec![dataset])
        .block(block.title(title))
        .x_axis(Axis::default().bounds(steps).labels(steps.map(|step| format!("{step:.0}"))))
        .y_axis(Axis::default().bounds([low, high]).labels(losses.into_iter().map(label)));
    frame.render_widget(chart, area);
}

fn draw_faults(frame: &mut Frame<'_>, area: Rect, faults: &[String], paint: Paint) {
    let block = Block::new().borders(Borders::TOP).title(" faults ").border_style(paint.dim());
    let room = usize::from(area.height.saturating_sub(1)).max(1);
    let mut lines: Vec<_> = faults.iter().map(|fault| Line::from(fault.as_str())).collect();
    if lines.is_empty() {
        lines.push(Line::from("none"));
    } else if lines.len() > room {
        let more = lines.len() - room + 1;
        lines.truncate(room - 1);
        lines.push(Line::from(format!("and {more} more")));
    }
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// The styles of the screen, with or without colours.
#[derive(Clone, Copy)]
struct Paint {
    has_colours: bool,
}

impl Paint {
    fn coloured(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    const fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    const fn head(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    const fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn of(self, state: &State) -> Style {
        match state {
            State::Runs | State::File => Style::new(),
            State::Done => self.coloured(Color::Green),
            State::Waits => self.coloured(Color::Yellow),
            State::Lost(_) => self.coloured(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

#[cfg(test)]
mod tests;
