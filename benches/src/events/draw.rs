//! Draws from distributions, from a seeded source.

use rand::Rng;
use rand::rngs::StdRng;

/// One of several things, each with its share.
#[derive(Debug)]
pub(super) struct Choice {
    up_to: Vec<f64>,
}

/// Zipf's law with exponent `s` over `kinds` things; whatever would be beyond
/// the last is the last.
pub(super) fn zipf(s: f64, kinds: usize) -> Choice {
    let share = |rank: usize| (rank as f64).powf(-s);
    let beyond = (kinds as f64).powf(1.0 - s) / (s - 1.0);
    Choice::of((1..kinds).map(share).chain([beyond]))
}

/// The exponential of a normal variable of this mean and deviation.
pub(super) fn lognormal(mean: f64, deviation: f64, random: &mut StdRng) -> f64 {
    // Box and Muller, 1958. The first is never 0, whose logarithm is no number.
    let (radius, angle) = (1.0 - random.random::<f64>(), random.random::<f64>() * std::f64::consts::TAU);
    (mean + deviation * (-2.0 * radius.ln()).sqrt() * angle.cos()).exp()
}

// === impl Choice ===

impl Choice {
    pub(super) fn of(shares: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = shares
            .into_iter()
            .map(|share| {
                sum += share;
                sum
            })
            .collect();
        up_to.iter_mut().for_each(|share| *share /= sum);
        Self { up_to }
    }

    /// The number of the thing drawn.
    pub(super) fn draw(&self, random: &mut StdRng) -> usize {
        let drawn = random.random::<f64>();
        self.up_to.partition_point(|up_to| *up_to <= drawn).min(self.up_to.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_first_of_zipf_is_drawn_as_often_as_it_should() {
        let (choice, mut random) = (zipf(2.0, 1_000), StdRng::seed_from_u64(1));
        let drawn: Vec<usize> = (0..20_000).map(|_| choice.draw(&mut random)).collect();
        let first = drawn.iter().filter(|drawn| **drawn == 0).count() as f64 / 20_000.0;
        // 6 / π²
        assert!((first - 0.608).abs() < 0.02, "{first}");
        assert!(drawn.iter().all(|drawn| *drawn < 1_000));
    }

    #[test]
    fn half_of_a_lognormal_is_below_its_median() {
        let mut random = StdRng::seed_from_u64(1);
        let below = (0..20_000).filter(|_| lognormal(5.0, 2.0, &mut random) < 5f64.exp()).count();
        assert!((9_700..10_300).contains(&below), "{below}");
    }
}
