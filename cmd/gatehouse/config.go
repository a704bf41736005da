package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// The configuration, in one direction: the strict reader (config_file.go) goes over the file and
// notes every fault with its line; viper lays the sources over each other, which are, the strongest
// first, --set, the environment, the file, the defaults; secrets that stand in files of their own
// are fetched (config_secret.go); Validate (config_check.go) judges the whole. All faults of all
// steps are reported at once, and none of them prints a secret.

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Source is where a configuration comes from, beside the environment of the process.
type Source struct {
	File string   // empty: no file
	Set  []string // key=value, from the command line
}

// Load reads the configuration and judges it. Every error is a Faults. The Config that comes with
// an error is as much as could be read, for reports only.
func Load(src Source) (Config, error) {
	cfg, faults := read(src)
	blamed := map[string]bool{}
	for _, f := range faults {
		if f.whole {
			return cfg, faults
		}
		blamed[f.Key] = true
	}
	cfg.settlePrefix()
	judged, warnings := cfg.Validate()
	for _, f := range judged {
		if !blamed[f.Key] { // what could not be read is not judged as well
			faults = append(faults, f)
		}
	}
	cfg.Warnings = append(cfg.Warnings, warnings...)
	return cfg, faults.orNil()
}

// read lays the sources over each other without judging what they say.
func read(src Source) (Config, Faults) {
	f, err := openFile(src.File)
	if err != nil {
		return Defaults(), Faults{{Key: "--config", Value: shown(src.File), Text: cause(err), whole: true}}
	}
	faults := f.faults
	given, bad := overrides(src.Set)
	faults = append(faults, bad...)
	cfg, err := merge(f, given)
	if err != nil {
		return Defaults(), append(faults, Fault{Source: f.name, Text: err.Error()})
	}
	cfg.sources, cfg.file = f.lines, src.File
	for name, o := range given {
		cfg.sources[name] = o.source
	}
	cfg.Warnings = strangers(os.Environ())
	return cfg, append(faults, cfg.fetchSecrets()...)
}

func openFile(name string) (*file, error) {
	if name == "" {
		return parseFile("", nil), nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, errors.New("larger than 1 MiB")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseFile(filepath.Base(name), text), nil
}

// fromFlag is the source of what the command line gives.
const fromFlag = "--set"

// override is a value that the environment or the command line gives to a key.
type override struct{ text, source string }

// overrides collects what --set and the environment give, and what of it cannot be a value of its
// key. An empty variable counts as unset: shells and compose files make them by accident.
func overrides(set []string) (map[string]override, Faults) {
	given := map[string]override{}
	known := map[string]key{}
	for _, k := range configKeys() {
		known[k.name] = k
		if text := os.Getenv(k.env()); text != "" {
			given[k.name] = override{text, k.env()}
		}
	}
	var faults Faults
	for _, pair := range set {
		name, text, ok := strings.Cut(pair, "=")
		k, exists := known[name]
		switch {
		case !ok || !exists:
			faults = append(faults, unknownSet(name, known))
		case k.secret:
			faults = append(faults, Fault{Key: name, Source: fromFlag, Text: "a secret on a command line is visible to everybody on the machine", Fix: "use " + name + "_file or " + k.env()})
		default:
			given[name] = override{text, fromFlag}
		}
	}
	for name, o := range given {
		if err := known[name].check(o.text); err != nil {
			faults = append(faults, Fault{Key: name, Value: shown(o.text), Source: o.source, Text: err.Error()})
			delete(given, name)
		}
	}
	return given, faults
}

func unknownSet(name string, known map[string]key) Fault {
	fix := "write key=value; lists of objects can stand in the file only"
	if k := closest(name, sortedKeys(known)); k != "" && k != name {
		fix = "did you mean " + k + "?"
	}
	return Fault{Key: name, Source: fromFlag, Text: "not a key that --set can give", Fix: fix}
}

// merge has viper decide, key by key, which source wins. Every key is bound by name, for viper
// finds a variable by itself only where the file has the key. Lists of objects are as the file has
// them. The outcome goes into an empty Config, so that no list can keep a part of another source's.
func merge(f *file, given map[string]override) (merged Config, err error) {
	base, content := Defaults(), map[string]any{}
	if f.root != nil {
		if err := errors.Join(f.root.Decode(&base), f.root.Decode(&content)); err != nil {
			return merged, err
		}
	}
	v := viper.New()
	for name, value := range leaves(Defaults()) {
		v.SetDefault(name, value)
	}
	if err := v.MergeConfigMap(content); err != nil {
		return merged, err
	}
	for name, o := range given {
		if o.source == fromFlag {
			v.Set(name, o.text)
		} else if err := v.BindEnv(name, o.source); err != nil {
			return merged, err
		}
	}
	if err := v.Unmarshal(&merged, byYAML); err != nil {
		return merged, err
	}
	merged.Server.TrustedProxies, merged.Identity, merged.Routes = base.Server.TrustedProxies, base.Identity, base.Routes
	return merged, nil
}

// byYAML has viper fill a struct by its yaml tags. Durations are written as Go writes them, lists
// in a variable as a,b.
func byYAML(c *mapstructure.DecoderConfig) {
	c.TagName = "yaml"
	c.DecodeHook = mapstructure.ComposeDecodeHookFunc(
		mapstructure.StringToTimeDurationHookFunc(), commaList, textSize)
}

// commaList splits a text for a list of texts, without the blanks around its items.
func commaList(from, to reflect.Type, data any) (any, error) {
	if from.Kind() != reflect.String || to != listType {
		return data, nil
	}
	list := []string{}
	for item := range strings.SplitSeq(data.(string), ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list, nil
}

// strangers warns of variables that look like ours and are none. It cannot be a fault: Kubernetes
// puts GATEHOUSE_SERVICE_HOST and its like into every pod beside a service called gatehouse.
func strangers(environ []string) (warnings []string) {
	known := map[string]bool{configVariable: true}
	for _, k := range configKeys() {
		known[k.env()] = true
	}
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "GATEHOUSE_") || known[name] {
			continue
		}
		if k := closest(name, sortedKeys(known)); k != "" && distance(name, k) <= 3 {
			warnings = append(warnings, fmt.Sprintf("variable %s is not one of ours: did you mean %s?", printable(name), k))
		}
	}
	return warnings
}
