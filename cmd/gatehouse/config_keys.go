package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	publicType   = reflect.TypeFor[Public]()
	listType     = reflect.TypeFor[[]string]()
)

// key is one scalar or list of strings of Config: what an environment variable or --set can give.
// Lists of objects (routes, identity, trusted_proxies) can stand in the file only.
type key struct {
	name   string // session.ttl
	kind   reflect.Type
	secret bool // its value is never printed
}

// env is the key's environment variable.
func (k key) env() string {
	return "GATEHOUSE_" + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// keysOf lists the keys below a struct type, in the order of its fields.
func keysOf(t reflect.Type, prefix string) (keys []key) {
	for f := range fields(t) {
		name := prefix + f.Tag.Get("yaml")
		switch {
		case f.Type.Kind() == reflect.Struct:
			keys = append(keys, keysOf(f.Type, name+".")...)
		case f.Type.Kind() != reflect.Slice || f.Type == listType:
			keys = append(keys, key{name: name, kind: f.Type, secret: f.Tag.Get("secret") != ""})
		}
	}
	return keys
}

// fields are the fields of a struct type that have a key.
func fields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			if tag := f.Tag.Get("yaml"); tag == "" || tag == "-" {
				continue
			}
			if !yield(f) {
				return
			}
		}
	}
}

// configKeys are the keys that variables and --set can give.
func configKeys() []key { return keysOf(reflect.TypeFor[Config](), "") }

// leaves are the values of the keys that variables and --set can give.
func leaves(c Config) map[string]any {
	values := map[string]any{}
	root := reflect.ValueOf(c)
	for _, k := range configKeys() {
		v := root
		for part := range strings.SplitSeq(k.name, ".") {
			v = fieldOf(v, part)
		}
		values[k.name] = v.Interface()
	}
	return values
}

func fieldOf(v reflect.Value, tag string) reflect.Value {
	for f := range fields(v.Type()) {
		if f.Tag.Get("yaml") == tag {
			return v.FieldByIndex(f.Index)
		}
	}
	panic("no key " + tag) // the names come from the same fields
}

// check says whether a text, from a variable or the command line, can be a value of the key.
func (k key) check(text string) error {
	switch {
	case k.kind == durationType:
		if _, err := time.ParseDuration(text); err != nil {
			return fmt.Errorf("not %s", wanted(k.kind))
		}
	case k.kind == sizeType:
		if _, err := ParseSize(text); err != nil {
			return err
		}
	case k.kind == countType:
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("not %s", wanted(k.kind))
		}
	case k.kind.Kind() == reflect.Bool:
		if _, err := strconv.ParseBool(text); err != nil {
			return fmt.Errorf("not %s", wanted(k.kind))
		}
	}
	return nil
}

// sortedKeys are the keys of a map in a stable order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// wanted describes the values of a type.
func wanted(t reflect.Type) string {
	switch t {
	case durationType:
		return "a duration such as 90s or 1h30m"
	case publicType:
		return "true, false or identify"
	case listType:
		return "a list such as [a, b]"
	case sizeType:
		return "a size such as 8MiB or 5GiB"
	case countType:
		return "a whole number"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Slice:
		return "a list"
	default:
		return "a group of keys"
	}
}
