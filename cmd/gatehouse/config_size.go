package main

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Size is a number of bytes, written 500KiB, 8MiB, 5GiB or 1TiB; zero is 0.
type Size int64

var (
	sizeType  = reflect.TypeFor[Size]()
	countType = reflect.TypeFor[int64]()
)

// units are powers of 1024. KB and MB are not among them: half of the people who write them mean the
// powers of 1000.
var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

var errSize = errors.New("not a size such as 8MiB or 5GiB")

// ParseSize reads a size. There are no fractions and no signs.
func ParseSize(text string) (Size, error) {
	if text == "0" {
		return 0, nil
	}
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || int64(n) > math.MaxInt64/u.bytes {
			return 0, errSize
		}
		return Size(int64(n) * u.bytes), nil
	}
	return 0, errSize
}

// String is the size as it is written, in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && int64(s)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(s)/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// textSize has viper read sizes in texts.
func textSize(from, to reflect.Type, data any) (any, error) {
	if from.Kind() != reflect.String || to != sizeType {
		return data, nil
	}
	return ParseSize(data.(string))
}
