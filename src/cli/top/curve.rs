//! The curve of the losses, with a limited number of points.

/// Points of the curve. A longer curve is thinned: each two points become their mean.
const MOST_POINTS: usize = 4096;

/// Losses by step. The longer the curve, the farther apart its points.
#[derive(Debug, Default)]
pub(super) struct Curve {
    points: Vec<(f64, f64)>,
    /// The step of the last row, with the sum and the number of its losses so far.
    open: Option<(u64, f64, f64)>,
}

impl Curve {
    /// Adds a row of `losses.csv`. A line that is no row is passed over.
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
        // After a rollback, steps are made again and replace the ones of before.
        while self.points.last().is_some_and(|(known, _)| *known >= step) {
            self.points.pop();
        }
        self.points.push((step, loss));
        if self.points.len() > MOST_POINTS {
            let mean = |pair: &[(f64, f64)]| {
                let n = pair.len() as f64;
                let sum =
                    pair.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
                (sum.0 / n, sum.1 / n)
            };
            self.points = self.points.chunks(2).map(mean).collect();
        }
    }

    fn close(&mut self) {
        if let Some((step, sum, n)) = self.open.take() {
            self.put(step as f64, sum / n);
        }
    }

    /// The step behind the last row of `losses.csv`.
    pub(super) fn next_step(&self) -> Option<u64> {
        self.open.map(|(step, ..)| step + 1)
    }

    /// All points, ascending by step.
    pub(super) fn points(&self) -> Vec<(f64, f64)> {
        let open = self.open.map(|(step, sum, n)| (step as f64, sum / n));
        self.points.iter().copied().chain(open).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_that_is_made_again_replaces_those_from_it_on() {
        let mut curve = Curve::default();
        ["5,0,1", "6,0,2", "7,0,3", "6,0,9", "7,0,8"].iter().for_each(|row| curve.add(row));
        assert_eq!(curve.points(), [(5.0, 1.0), (6.0, 9.0), (7.0, 8.0)]);
    }

    #[test]
    fn curve_of_a_long_run_is_thinned() {
        let mut curve = Curve::default();
        (0..20_000).for_each(|step| curve.put(f64::from(step), f64::from(step)));
        let points = curve.points();
        assert!(points.len() > MOST_POINTS / 4 && points.len() <= MOST_POINTS, "{}", points.len());
        assert!(points.iter().all(|(step, loss)| step == loss));
        assert!(points.is_sorted_by(|a, b| a.0 < b.0));
    }
}
