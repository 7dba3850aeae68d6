#![allow(clippy::unwrap_used)]
use super::*;

/// The standards' formulas in double precision: levels to 0..1 and ±0.5, the inverse matrix, rounding.
fn reference(y: u8, u: u8, v: u8, matrix: Matrix, levels: Levels) -> [u8; 3] {
    let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
    let (luma, u, v) = match levels {
        Levels::Limited => ((y - 16.0) / 219.0, u / 224.0, v / 224.0),
        Levels::Full => (y / 255.0, u / 255.0, v / 255.0),
    };
    let (kr, kb) = match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    };
    let red = luma + 2.0 * (1.0 - kr) * v;
    let blue = luma + 2.0 * (1.0 - kb) * u;
    let green = (luma - kr * red - kb * blue) / (1.0 - kr - kb);
    [red, green, blue].map(|part| (part * 255.0).round().clamp(0.0, 255.0) as u8)
}

#[test]
fn a_pixel_is_what_the_standard_says() {
    for matrix in [Matrix::Bt601, Matrix::Bt709] {
        for levels in [Levels::Limited, Levels::Full] {
            let colour = Colour::new(matrix, levels);
            for word in 0..(1u32 << 18) {
                // Every luma with a grid of chroma.
                let (y, u, v) = ((word >> 10) as u8, ((word >> 5) << 3) as u8 | 5, (word << 3) as u8 | 2);
                let (ours, wanted) =
                    (colour.pixel(y, colour.chroma(u, v)), reference(y, u, v, matrix, levels));
                let off = ours.iter().zip(wanted).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                assert!(off <= 1, "{y} {u} {v}: {ours:?} {wanted:?}");
            }
        }
    }
}

#[test]
fn black_white_and_the_colours_of_a_test_chart_are_themselves() {
    // BT.601 limited: the bars of ITU-R BT.801, 100 %.
    let colour = Colour::new(Matrix::Bt601, Levels::Limited);
    for (yuv, rgb) in [
        ([16, 128, 128], [0, 0, 0]),
        ([235, 128, 128], [255, 255, 255]),
        ([81, 90, 240], [255, 0, 0]),
        ([145, 54, 34], [0, 255, 0]),
        ([41, 240, 110], [0, 0, 255]),
    ] {
        let [y, u, v] = yuv;
        let ours = colour.pixel(y, colour.chroma(u, v));
        assert!(ours.iter().zip(rgb).all(|(a, b)| a.abs_diff(b) <= 1), "{yuv:?}: {ours:?}");
    }
}

#[test]
fn rows_have_their_gaps_left_out_and_chroma_goes_to_its_pixels() {
    let colour = Colour::new(Matrix::Bt601, Levels::Limited);
    let of = |y, u, v| colour.pixel(y, colour.chroma(u, v));
    // Two rows of two pixels, six bytes apart, the last without its gap.
    let yuyv = [20, 100, 40, 150, 0xEE, 0xEE, 60, 90, 80, 160];
    let wanted = [of(20, 100, 150), of(40, 100, 150), of(60, 90, 160), of(80, 90, 160)].concat();
    assert_eq!(from_yuyv(&yuyv, 2, 2, 6, colour).unwrap(), wanted);
    // Four by two pixels, five bytes apart.
    let nv12 = [20, 40, 60, 80, 0xEE, 30, 50, 70, 90, 0xEE, 100, 150, 90, 160];
    let wanted = [
        of(20, 100, 150),
        of(40, 100, 150),
        of(60, 90, 160),
        of(80, 90, 160),
        of(30, 100, 150),
        of(50, 100, 150),
        of(70, 90, 160),
        of(90, 90, 160),
    ];
    assert_eq!(from_nv12(&nv12, 4, 2, 5, colour).unwrap(), wanted.concat());
    assert_eq!(
        from_grey(&[1, 2, 0xEE, 3, 4], 2, 2, 3, Levels::Full).unwrap(),
        [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    );
    assert_eq!(from_grey(&[16, 235], 2, 1, 2, Levels::Limited).unwrap(), [0, 0, 0, 255, 255, 255]);
}

#[test]
fn too_few_bytes_are_no_picture() {
    let colour = Colour::new(Matrix::Bt601, Levels::Limited);
    assert!(from_yuyv(&[0; 9], 2, 2, 6, colour).is_none());
    assert!(from_yuyv(&[0; 99], 4, 2, 6, colour).is_none(), "rows overlap");
    assert!(from_nv12(&[0; 13], 4, 2, 5, colour).is_none());
    assert!(from_grey(&[0; 4], 2, 2, 3, Levels::Full).is_none());
    assert!(from_grey(&[], 2, 2, usize::MAX, Levels::Full).is_none());
}
