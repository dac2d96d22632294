//! An RSA key from a seed: the same on any machine and in any version, since every step is written down in the README. Whether
//! a number is prime does not depend on how that is found out.

use aws_lc_rs::hkdf::{KeyType, Prk};
use crypto_bigint::{BoxedUint, ConcatenatingMul as _, Gcd as _, NonZero, Odd, Resize as _};
use crypto_primes::{Flavor, hazmat::MillerRabin, is_prime};
use russh::keys::ssh_key::{
    Mpint,
    private::{RsaKeypair, RsaPrivateKey},
    public::RsaPublicKey,
};

use super::make::MakeError;

const EXPONENT: u32 = 65_537;

/// Whose multiples need no further look.
const SMALL: u32 = 2_000;

/// Of Miller and Rabin, to random bases, for what was found to be prime otherwise.
const ROUNDS: usize = 16;

/// So many bytes are derived.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// The key of `bits`, a multiple of 128, that `derived` makes. It takes a second, and more the longer the key is.
pub(super) fn pair(derived: &Prk, bits: usize) -> Result<RsaKeypair, MakeError> {
    let failed = || MakeError::Failed("nothing could be derived from the seed".into());
    let small: Vec<u32> = (3..SMALL).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)).collect();
    let find = |which: &str| prime(derived, bits, which, &small).ok_or_else(failed);
    let (one, other) = (find("p")?, find("q")?);
    let (p, q) = if one > other { (one, other) } else { (other, one) };
    components(&p, &q).ok_or_else(failed)
}

/// The first candidate that is prime, and not one more than a multiple of the exponent.
fn prime(derived: &Prk, bits: usize, which: &str, small: &[u32]) -> Option<BoxedUint> {
    let precision = u32::try_from(bits / 2).ok()?;
    let mut bytes = vec![0; bits / 16];
    for count in 0_u32.. {
        let (name, count) = (format!("rsa-{bits} {which}"), count.to_be_bytes());
        derived.expand(&[name.as_bytes(), &count], Bytes(bytes.len())).ok()?.fill(&mut bytes).ok()?;
        *bytes.first_mut()? |= 0b1100_0000;
        *bytes.last_mut()? |= 1;
        let rest = |by: u32| bytes.iter().fold(0, |rest, byte| (rest << 8 | u64::from(*byte)) % u64::from(by));
        if rest(EXPONENT) == 1 || small.iter().any(|by| rest(*by) == 0) {
            continue;
        }
        let candidate = BoxedUint::from_be_slice(&bytes, precision).ok()?;
        if is_prime(Flavor::Any, &candidate) && again(&candidate)? {
            return Some(candidate);
        }
    }
    None
}

fn again(candidate: &BoxedUint) -> Option<bool> {
    let test = MillerRabin::new(Odd::new(candidate.clone()).into_option()?);
    let mut random = rand::rng();
    Some((0..ROUNDS).all(|_| test.test_random_base(&mut random).is_probably_prime()))
}

/// With the private exponent of FIPS 186-5: the smallest, modulo the least common multiple of `p - 1` and `q - 1`.
fn components(p: &BoxedUint, q: &BoxedUint) -> Option<RsaKeypair> {
    let one = BoxedUint::one();
    let (before_p, before_q) = (p - &one, q - &one);
    let common = NonZero::new(before_p.gcd(&before_q)).into_option()?;
    let multiple = NonZero::new((before_p / common).concatenating_mul(&before_q)).into_option()?;
    let exponent = BoxedUint::from(EXPONENT).resize_unchecked(multiple.bits_precision());
    let private = exponent.invert_mod(&multiple).into_option()?;
    let coefficient = q.invert_mod(&NonZero::new(p.clone()).into_option()?).into_option()?;
    let number = |number: &BoxedUint| Mpint::from_positive_bytes(&number.to_be_bytes());
    let modulus = p.concatenating_mul(q);
    let public = RsaPublicKey::new(Mpint::from_positive_bytes(&EXPONENT.to_be_bytes()), number(&modulus)).ok()?;
    let private = RsaPrivateKey::new(number(&private), number(&coefficient), number(p), number(q)).ok()?;
    RsaKeypair::new(public, private).ok()
}
