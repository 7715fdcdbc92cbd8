//! The curve of the losses, with a limited number of points.

/// The maximum number of points of the curve. If the curve gets more points, each pair of
/// neighbouring points is replaced by the mean of the pair.
const MOST_POINTS: usize = 4096;

/// The losses by step. After pairs of points were merged, each point is the mean of several steps.
/// All points except the newest points cover the same number of steps, so the points are evenly
/// spaced along the x axis.
#[derive(Debug)]
pub(super) struct Curve {
    points: Vec<(f64, f64)>,
    /// The number of steps of which each point is the mean.
    per_point: u32,
    /// The number of steps of which the last point is the mean.
    in_last: u32,
    /// The newest step and its loss. This loss is not merged into a point yet, because a repetition
    /// of the step would replace the loss.
    newest: Option<(f64, f64)>,
    /// The step of the last row of `losses.csv`, and the sum and the number of the losses of that
    /// step so far.
    open: Option<(u64, f64, f64)>,
}

impl Default for Curve {
    fn default() -> Self {
        Self { points: Vec::new(), per_point: 1, in_last: 0, newest: None, open: None }
    }
}

impl Curve {
    /// Adds a row of `losses.csv`. A line that is not a valid row is ignored.
    pub(super) fn add(&mut self, line: &str) {
        let mut cells = line.split(',');
        let mut cell = || cells.next();
        if let (Some(Ok(step)), Some(_), Some(Ok(loss))) =
            (cell().map(str::parse::<u64>), cell(), cell().map(str::parse::<f64>))
        {
            match &mut self.open {
                Some((open, sum, n)) if *open == step => {
                    *sum += loss;
                    *n += 1.0;
                }
                _ => {
                    self.close();
                    self.open = Some((step, loss, 1.0));
                }
            }
        }
    }

    /// Adds the mean loss of a step.
    pub(super) fn put(&mut self, step: f64, loss: f64) {
        if let Some(newest) = self.newest.replace((step, loss)).filter(|(known, _)| *known < step) {
            self.merge(newest);
            return;
        }
        // After a rollback, repeated steps replace the earlier losses of these steps.
        while self.points.last().is_some_and(|(known, _)| *known >= step) {
            self.points.pop();
            self.in_last = self.per_point;
        }
    }

    fn merge(&mut self, (step, loss): (f64, f64)) {
        if let Some(last) = self.points.last_mut().filter(|_| self.in_last < self.per_point) {
            let mean = |mean: f64, new| mean + (new - mean) / f64::from(self.in_last + 1);
            *last = (mean(last.0, step), mean(last.1, loss));
            self.in_last += 1;
            return;
        }
        self.points.push((step, loss));
        self.in_last = 1;
        if self.points.len() > MOST_POINTS {
            // The number of points is odd, so the newest point is alone in the last chunk.
            let mean = |pair: &[(f64, f64)]| match pair {
                [a, b] => (a.0.midpoint(b.0), a.1.midpoint(b.1)),
                _ => pair[0],
            };
            self.points = self.points.chunks(2).map(mean).collect();
            self.per_point = self.per_point.saturating_mul(2);
        }
    }

    fn close(&mut self) {
        if let Some((step, sum, n)) = self.open.take() {
            self.put(step as f64, sum / n);
        }
    }

    /// Returns the step after the last row of `losses.csv`.
    pub(super) fn next_step(&self) -> Option<u64> {
        self.open.map(|(step, ..)| step + 1)
    }

    /// Returns all points, ascending by step.
    pub(super) fn points(&self) -> Vec<(f64, f64)> {
        let open = self.open.map(|(step, sum, n)| (step as f64, sum / n));
        self.points.iter().copied().chain(self.newest).chain(open).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_step_replaces_its_loss_and_all_later_losses() {
        let mut curve = Curve::default();
        ["5,0,1", "6,0,2", "7,0,3", "6,0,9", "7,0,8"].iter().for_each(|row| curve.add(row));
        assert_eq!(curve.points(), [(5.0, 1.0), (6.0, 9.0), (7.0, 8.0)]);
    }

    #[test]
    fn curve_of_a_long_run_is_thinned_to_equal_distances() {
        let mut curve = Curve::default();
        (0..20_001).for_each(|step| curve.put(f64::from(step), f64::from(step)));
        let mut points = curve.points();
        assert!(points.len() > MOST_POINTS / 4 && points.len() <= MOST_POINTS, "{}", points.len());
        assert!(points.iter().all(|(step, loss)| step == loss));
        assert_eq!(points.pop(), Some((20_000.0, 20_000.0)), "the newest loss is no mean");
        assert_eq!(points[0], (3.5, 3.5), "eight losses are one point");
        assert!(points.windows(2).all(|pair| pair[1].0 - pair[0].0 == 8.0));
    }

    #[test]
    fn repeated_loss_counts_once() {
        let mut curve = Curve::default();
        for step in 0..10_000 {
            curve.put(f64::from(step), 1.0);
        }
        let points = curve.points();
        (0..10).for_each(|_| curve.put(9_999.0, 1.0));
        assert_eq!(curve.points(), points);
    }

    #[test]
    fn rollback_of_a_thinned_curve_removes_the_repeated_steps() {
        let mut curve = Curve::default();
        (0..10_000).for_each(|step| curve.put(f64::from(step), 1.0));
        curve.put(5_000.0, 9.0);
        curve.put(5_001.0, 9.0);
        let points = curve.points();
        assert_eq!(points[points.len() - 2..], [(5_000.0, 9.0), (5_001.0, 9.0)]);
        assert!(points.is_sorted_by(|a, b| a.0 < b.0));
        assert!(points[..points.len() - 2].iter().all(|(_, loss)| *loss == 1.0));
    }
}
