//! Cells: what the values of a Parquet column become in JSON.

use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use ::parquet::column::page::PageReader;
use ::parquet::column::reader::ColumnReaderImpl;
use ::parquet::data_type::{
    ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int32Type, Int64Type,
    Int96, Int96Type,
};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::schema::types::ColumnDescriptor;
use jiff::Timestamp;
use relay_core::reason::{Reason, Refusal};

use crate::columns::{Column, write_text};
use crate::read::refusal;

/// Columns whose values are times.
const TIMES: [&str; 2] = ["ts", "ets"];
/// The day on which INT96 counts 0 is so many days before 1970. Source: the Julian day number of 1 January 1970.
const JULIAN_DAYS_TO_1970: i128 = 2_440_588;
const NANOS_A_DAY: i128 = 86_400_000_000_000;

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// Sixteen bytes.
    Uuid,
    Whole,
    /// The same without a sign, in 32 or 64 bits.
    Unsigned,
    Real,
    /// So many digits behind the point.
    Decimal(u32),
    /// Counts of so many nanoseconds since 1970, in UTC.
    Time(i128),
    /// Nanoseconds of a day, and its Julian number, as Hive and Spark write times: in UTC.
    Julian,
    /// A column of nulls only.
    Nothing,
}

impl Form {
    /// The form of the values of `column`, by its type `of`.
    ///
    /// # Errors
    /// What was expected instead.
    pub(super) fn of(column: &Column, of: &ColumnDescriptor) -> std::result::Result<Self, String> {
        use Form::{Decimal, Julian, Nothing, Real, Text, Time, Unsigned, Uuid, Whole};
        let name = &column.name;
        if of.max_rep_level() > 0 {
            return Err(format!("expected one value a row in column {name:?}; found a list or a map"));
        }
        let is_time = TIMES.contains(&name.as_str());
        let form = form(of);
        let fits = |form: &Form| match form {
            Nothing => true,
            Text => !column.is_number,
            Whole | Unsigned => !is_time,
            Uuid => !is_time && !column.is_number,
            Real | Decimal(_) => column.is_number,
            Time(_) | Julian => is_time,
        };
        form.filter(fits).ok_or_else(|| {
            let expected = match (column.is_number, is_time) {
                (true, _) => "numbers (INT32, INT64, FLOAT, DOUBLE or DECIMAL)",
                (false, true) => "times (text, or timestamps that are adjusted to UTC)",
                (false, false) => "text (or whole numbers, or UUIDs)",
            };
            format!("expected {expected} in column {name:?}; found {}", found(of))
        })
    }
}

/// What the type says, whatever the column is for; `None` of what nothing can be made.
fn form(of: &ColumnDescriptor) -> Option<Form> {
    use Type::{BYTE_ARRAY, DOUBLE, FIXED_LEN_BYTE_ARRAY, FLOAT, INT32, INT64, INT96};
    let decimal = |scale: i32| u32::try_from(scale).ok().map(Form::Decimal);
    let whole = |is_signed: bool| Some(if is_signed { Form::Whole } else { Form::Unsigned });
    match (of.physical_type(), of.logical_type_ref()) {
        (_, Some(LogicalType::Unknown)) => Some(Form::Nothing),
        (BYTE_ARRAY, Some(LogicalType::String | LogicalType::Enum | LogicalType::Json)) => Some(Form::Text),
        (FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Uuid)) => Some(Form::Uuid),
        (INT32 | INT64 | BYTE_ARRAY | FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Decimal(about))) => decimal(about.scale),
        (INT32 | INT64, Some(LogicalType::Integer(about))) => whole(about.is_signed),
        (INT64, Some(LogicalType::Timestamp(about))) if about.is_adjusted_to_u_t_c => Some(Form::Time(match about.unit {
            TimeUnit::MILLIS => 1_000_000,
            TimeUnit::MICROS => 1_000,
            TimeUnit::NANOS => 1,
        })),
        (_, Some(_)) => None,
        (physical, None) => match (physical, of.converted_type()) {
            // Without a word about what they are, bytes may be text; each is looked at.
            (BYTE_ARRAY, ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => {
                Some(Form::Text)
            }
            (INT32 | INT64 | BYTE_ARRAY | FIXED_LEN_BYTE_ARRAY, ConvertedType::DECIMAL) => decimal(of.type_scale()),
            (INT32 | INT64, ConvertedType::NONE | ConvertedType::INT_8 | ConvertedType::INT_16) => whole(true),
            (INT32 | INT64, ConvertedType::INT_32 | ConvertedType::INT_64) => whole(true),
            (INT32 | INT64, ConvertedType::UINT_8 | ConvertedType::UINT_16) => whole(false),
            (INT32 | INT64, ConvertedType::UINT_32 | ConvertedType::UINT_64) => whole(false),
            (INT64, ConvertedType::TIMESTAMP_MILLIS) => Some(Form::Time(1_000_000)),
            (INT64, ConvertedType::TIMESTAMP_MICROS) => Some(Form::Time(1_000)),
            (FLOAT | DOUBLE, ConvertedType::NONE) => Some(Form::Real),
            (INT96, ConvertedType::NONE) => Some(Form::Julian),
            _ => None,
        },
    }
}

/// The type in words.
fn found(of: &ColumnDescriptor) -> String {
    let physical = of.physical_type();
    match of.logical_type_ref() {
        Some(LogicalType::Timestamp(about)) if about.is_adjusted_to_u_t_c => "timestamps".to_owned(),
        Some(LogicalType::Timestamp(_)) => "timestamps without a zone, which could mean any".to_owned(),
        Some(LogicalType::String) => "text".to_owned(),
        _ if of.converted_type() != ConvertedType::NONE => format!("{physical} ({})", of.converted_type()),
        _ => physical.to_string(),
    }
}

/// The cells of a column, some rows at a time.
pub(super) trait Cells {
    /// Takes the cells of the next `rows`, or of as many as there are; says how many.
    fn fill(&mut self, rows: usize) -> Result<usize>;

    /// Whether the cell in the row `at`, of those taken, holds anything.
    fn has(&self, at: usize) -> bool;

    /// Writes the cell as JSON.
    fn write(&self, at: usize, column: &Column, out: &mut String) -> std::result::Result<(), Refusal>;
}

/// Opens the cells of a column, whose values have this `form`.
pub(super) fn open(about: &ColumnChunkMetaData, pages: Box<dyn PageReader>, form: Form) -> Result<Box<dyn Cells>> {
    Ok(match about.column_descr().physical_type() {
        Type::INT32 => Typed::<Int32Type>::open(about, pages, form),
        Type::INT64 => Typed::<Int64Type>::open(about, pages, form),
        Type::INT96 => Typed::<Int96Type>::open(about, pages, form),
        Type::FLOAT => Typed::<FloatType>::open(about, pages, form),
        Type::DOUBLE => Typed::<DoubleType>::open(about, pages, form),
        Type::BYTE_ARRAY => Typed::<ByteArrayType>::open(about, pages, form),
        Type::FIXED_LEN_BYTE_ARRAY => Typed::<FixedLenByteArrayType>::open(about, pages, form),
        Type::BOOLEAN => return Err(ParquetError::General("a column of another type than the file says".to_owned())),
    })
}

/// Cells of one type.
struct Typed<T: DataType> {
    reader: ColumnReaderImpl<T>,
    form: Form,
    /// The level at which a value is there, and not null.
    filled_level: i16,
    levels: Vec<i16>,
    values: Vec<T::T>,
    /// For each row the place of its value among `values`.
    places: Vec<Option<usize>>,
}

impl<T: DataType> Typed<T>
where
    T::T: Valued,
{
    fn open(about: &ColumnChunkMetaData, pages: Box<dyn PageReader>, form: Form) -> Box<dyn Cells> {
        let of = about.column_descr_ptr();
        let filled_level = of.max_def_level();
        let reader = ColumnReaderImpl::new(of, pages);
        Box::new(Self { reader, form, filled_level, levels: Vec::new(), values: Vec::new(), places: Vec::new() })
    }

    fn value(&self, at: usize) -> Option<&T::T> {
        self.values.get((*self.places.get(at)?)?)
    }
}

impl<T: DataType> Cells for Typed<T>
where
    T::T: Valued,
{
    fn fill(&mut self, rows: usize) -> Result<usize> {
        let Self { reader, filled_level, levels, values, places, .. } = self;
        levels.clear();
        values.clear();
        places.clear();
        let (taken, ..) = reader.read_records(rows, Some(&mut *levels), None, &mut *values)?;
        let mut next = 0..;
        match *filled_level {
            0 => places.extend(next.take(taken).map(Some)),
            filled => places.extend(levels.iter().map(|level| if *level == filled { next.next() } else { None })),
        }
        let filled = places.iter().flatten().count();
        if places.len() != taken || filled != values.len() {
            return Err(ParquetError::General("a column has not as many values as it says".to_owned()));
        }
        Ok(taken)
    }

    fn has(&self, at: usize) -> bool {
        self.value(at).is_some()
    }

    fn write(&self, at: usize, column: &Column, out: &mut String) -> std::result::Result<(), Refusal> {
        let Some(value) = self.value(at) else { return Ok(()) };
        write(value.value(), self.form, column, out)
    }
}

/// One value.
#[derive(Clone, Copy)]
enum Value<'v> {
    /// With as many bits.
    Whole(i64, u32),
    Single(f32),
    Double(f64),
    Bytes(&'v [u8]),
    /// Nanoseconds of a day, and its Julian number.
    Julian(u64, u32),
}

/// What has a value.
trait Valued {
    fn value(&self) -> Value<'_>;
}

impl Valued for i32 {
    fn value(&self) -> Value<'_> {
        Value::Whole(i64::from(*self), i32::BITS)
    }
}

impl Valued for i64 {
    fn value(&self) -> Value<'_> {
        Value::Whole(*self, i64::BITS)
    }
}

impl Valued for Int96 {
    fn value(&self) -> Value<'_> {
        match self.data() {
            [low, high, day] => Value::Julian(u64::from(*low) | u64::from(*high) << 32, *day),
            _ => Value::Bytes(&[]),
        }
    }
}

impl Valued for f32 {
    fn value(&self) -> Value<'_> {
        Value::Single(*self)
    }
}

impl Valued for f64 {
    fn value(&self) -> Value<'_> {
        Value::Double(*self)
    }
}

impl Valued for ByteArray {
    fn value(&self) -> Value<'_> {
        Value::Bytes(self.data())
    }
}

impl Valued for FixedLenByteArray {
    fn value(&self) -> Value<'_> {
        Value::Bytes(self.data())
    }
}

/// Writes `value` as JSON.
fn write(value: Value<'_>, form: Form, column: &Column, out: &mut String) -> std::result::Result<(), Refusal> {
    let name = &column.name;
    if let (Value::Bytes(bytes), Form::Text) = (value, form) {
        let text = str::from_utf8(bytes);
        write_text(text.map_err(|_| refusal(Reason::NotJson, format!("expected UTF-8 text in column {name:?}")))?, out);
        return Ok(());
    }
    let text = plain(value, form).ok_or_else(|| match form {
        Form::Time(_) | Form::Julian => {
            refusal(Reason::TimestampInvalid, format!("expected a time between the years -9999 and 9999 in column {name:?}"))
        }
        Form::Nothing => refusal(Reason::EnvelopeInvalid, format!("expected nothing in column {name:?}, as its type says")),
        Form::Text | Form::Uuid | Form::Whole | Form::Unsigned | Form::Real | Form::Decimal(_) => {
            refusal(Reason::FieldNotNumber, format!("expected a number of at most 38 digits in column {name:?}"))
        }
    })?;
    // What is no text so far has nothing in it that would have to be escaped.
    match column.is_number {
        true => out.push_str(&text),
        false => out.extend(["\"", &text, "\""]),
    }
    Ok(())
}

/// `value` in characters; `None` if it is nothing that `form` can mean.
fn plain(value: Value<'_>, form: Form) -> Option<String> {
    match (value, form) {
        (Value::Whole(value, _), Form::Whole) => Some(value.to_string()),
        (Value::Whole(value, i32::BITS), Form::Unsigned) => Some((value as u32).to_string()),
        (Value::Whole(value, _), Form::Unsigned) => Some((value as u64).to_string()),
        (Value::Whole(value, _), Form::Decimal(scale)) => decimal(i128::from(value), scale),
        (Value::Bytes(bytes), Form::Decimal(scale)) => decimal(big_endian(bytes)?, scale),
        // JSON has no word for what is not finite. A float of four bytes has its own fewest digits: 0.1, and not what it is in eight.
        (Value::Single(value), Form::Real) => value.is_finite().then(|| serde_json::to_string(&value).ok())?,
        (Value::Double(value), Form::Real) => value.is_finite().then(|| serde_json::to_string(&value).ok())?,
        (Value::Bytes(bytes), Form::Uuid) => uuid(bytes),
        (Value::Whole(count, _), Form::Time(nanos)) => time(i128::from(count).checked_mul(nanos)?),
        (Value::Julian(nanos, day), Form::Julian) => {
            time((i128::from(day) - JULIAN_DAYS_TO_1970) * NANOS_A_DAY + i128::from(nanos))
        }
        _ => None,
    }
}

/// A number in two's complement, however many bytes it takes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let is_negative = bytes.first()? & 0x80 != 0;
    let sign: u8 = if is_negative { 0xff } else { 0 };
    let (more, bytes) = bytes.split_at(bytes.len().saturating_sub(16));
    let mut value = if is_negative { -1 } else { 0 };
    for byte in bytes {
        value = value << 8 | i128::from(*byte);
    }
    // What stands before sixteen bytes must add nothing.
    (more.iter().all(|byte| *byte == sign) && (more.is_empty() || (value < 0) == is_negative)).then_some(value)
}

/// `value` with `scale` digits behind the point, all of them: what was 1.50 stays 1.50. None has more digits than a decimal may have.
fn decimal(value: i128, scale: u32) -> Option<String> {
    let scale = usize::try_from(scale).ok().filter(|scale| *scale <= 38)?;
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, rest) = digits.split_at_checked(digits.len().checked_sub(scale)?)?;
    let (sign, point) = (if value < 0 { "-" } else { "" }, if scale > 0 { "." } else { "" });
    Some(format!("{sign}{whole}{point}{rest}"))
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let value = u128::from_be_bytes(bytes.try_into().ok()?);
    let hex = format!("{value:032x}");
    let parts = [hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..)?];
    Some(parts.join("-"))
}

/// A time so many nanoseconds after 1970 began.
fn time(nanos: i128) -> Option<String> {
    Timestamp::from_nanosecond(nanos).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_keeps_all_its_digits() {
        for (value, scale, text) in [
            (150, 2, "1.50"),
            (-150, 2, "-1.50"),
            (5, 2, "0.05"),
            (-5, 3, "-0.005"),
            (0, 2, "0.00"),
            (12, 0, "12"),
            (i128::MAX, 20, "1701411834604692317.31687303715884105727"),
            (i128::MIN, 0, "-170141183460469231731687303715884105728"),
        ] {
            assert_eq!(decimal(value, scale).as_deref(), Some(text));
            assert!(serde_json::from_str::<serde_json::Number>(text).is_ok());
        }
        assert_eq!(decimal(1, 39), None);
    }

    #[test]
    fn bytes_are_a_number_however_many_they_are() {
        for (bytes, value) in [
            (&[0x01][..], Some(1)),
            (&[0xff], Some(-1)),
            (&[0x00, 0xff], Some(255)),
            (&[0xff, 0x00], Some(-256)),
            (&[0; 20], Some(0)),
            (&[0xff; 20], Some(-1)),
            (&[], None),
        ] {
            assert_eq!(big_endian(bytes), value, "{bytes:x?}");
        }
        let of = |first: [u8; 2]| [&first[..], &[0; 15]].concat();
        assert_eq!(big_endian(&of([0, 0x7f])), Some(0x7f << 120));
        assert_eq!(big_endian(&of([0, 0x80])), None, "it takes 129 bits");
        assert_eq!(big_endian(&of([1, 0])), None);
        assert_eq!(big_endian(&of([0xff, 0x80])), Some(i128::MIN));
        assert_eq!(big_endian(&of([0xff, 0x7f])), None);
    }

    #[test]
    fn times_are_told_in_utc_with_the_digits_they_need() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_780_272_000_123_000_000, "2026-06-01T00:00:00.123Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(time(nanos).as_deref(), Some(text));
        }
        assert_eq!(time(i128::MAX), None);
        assert_eq!(plain(Value::Julian(1_000, 2_440_589), Form::Julian).as_deref(), Some("1970-01-02T00:00:00.000001Z"));
    }
}
