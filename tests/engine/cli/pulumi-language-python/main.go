// The command pulumi-language-python runs the Python program for a Pulumi CLI that was built from Go modules.
//
// Pulumi distributes its own command with its releases only. This command installs and runs a program with the same
// parts: the package toolchain, and the script pulumi-language-python-exec, which has to be in the command's folder.
// Pulumi's own command also lists the plugins of the program. Here a provider is already running, and no plugin is needed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/version"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/pulumi/pulumi/sdk/v3/python/toolchain"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Exit status of the script after it reported an error to the user. Source: pulumi-language-python-exec.
const reported = 32

type languageHost struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
	engine string
}

func main() {
	flag.String("tracing", "", "ignored")
	flag.String("root", "", "ignored")
	flag.Parse()
	if err := serve(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve answers the engine at an address until the engine ends the process. The engine reads the port from the output.
func serve(engine string) error {
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{Init: func(server *grpc.Server) error {
		pulumirpc.RegisterLanguageRuntimeServer(server, &languageHost{engine: engine})
		return nil
	}})
	if err != nil {
		return err
	}
	fmt.Println(handle.Port)
	return <-handle.Done
}

func (host *languageHost) Handshake(
	_ context.Context, request *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	host.engine = request.EngineAddress
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (host *languageHost) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version.Version}, nil
}

// InstallDependencies creates the virtual environment of Pulumi.yaml and installs the program's requirements.txt.
func (host *languageHost) InstallDependencies(
	request *pulumirpc.InstallDependenciesRequest, server pulumirpc.LanguageRuntime_InstallDependenciesServer,
) error {
	closer, stdout, stderr, err := rpcutil.MakeInstallDependenciesStreams(server, request.IsTerminal)
	if err != nil {
		return err
	}
	environment, err := programToolchain(request.Info)
	if err == nil {
		folder := request.Info.ProgramDirectory
		err = environment.InstallDependencies(server.Context(), folder, false, true, stdout, stderr)
	}
	return errors.Join(err, closer.Close())
}

// Run runs the program in its virtual environment.
func (host *languageHost) Run(
	ctx context.Context, request *pulumirpc.RunRequest,
) (*pulumirpc.RunResponse, error) {
	environment, err := programToolchain(request.Info)
	if err != nil {
		return nil, err
	}
	if err := environment.ValidateVenv(ctx); err != nil {
		return nil, err
	}
	command, err := host.command(ctx, environment, request)
	if err != nil {
		return nil, err
	}
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	var exit *exec.ExitError
	switch err := command.Run(); {
	case errors.As(err, &exit) && exit.ExitCode() == reported:
		return &pulumirpc.RunResponse{Bail: true}, nil
	case err != nil:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the program ended with an error: %v", err)}, nil
	}
	return &pulumirpc.RunResponse{}, nil
}

func (host *languageHost) command(
	ctx context.Context, environment toolchain.Toolchain, request *pulumirpc.RunRequest,
) (*exec.Cmd, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	variables, err := settings(request)
	if err != nil {
		return nil, err
	}
	command, err := environment.Command(ctx,
		filepath.Join(filepath.Dir(own), "pulumi-language-python-exec"),
		"--monitor", request.MonitorAddress,
		"--engine", host.engine,
		"--project", request.Project,
		"--organization", request.Organization,
		"--stack", request.Stack,
		"--root_directory", request.Info.RootDirectory,
		"--pwd", request.Pwd,
		"--parallel", strconv.Itoa(int(request.Parallel)),
		"--dry_run", strconv.FormatBool(request.DryRun),
		request.Info.EntryPoint,
	)
	if err != nil {
		return nil, err
	}
	command.Env = append(command.Env, variables...)
	return command, nil
}

// settings returns the environment variables with the configuration. The script refuses null in place of an empty value.
func settings(request *pulumirpc.RunRequest) ([]string, error) {
	config, err := json.Marshal(maps.Collect(maps.All(request.Config)))
	if err != nil {
		return nil, err
	}
	secrets, err := json.Marshal(append([]string{}, request.ConfigSecretKeys...))
	if err != nil {
		return nil, err
	}
	return []string{"PULUMI_CONFIG=" + string(config), "PULUMI_CONFIG_SECRET_KEYS=" + string(secrets)}, nil
}

// programToolchain returns the toolchain of a project, with the virtual environment that Pulumi.yaml names.
func programToolchain(info *pulumirpc.ProgramInfo) (toolchain.Toolchain, error) {
	options := info.Options.AsMap()
	if options["toolchain"] != "pip" {
		return nil, fmt.Errorf("the toolchain in Pulumi.yaml is %v. Set it to pip", options["toolchain"])
	}
	virtualenv, _ := options["virtualenv"].(string)
	return toolchain.ResolveToolchain(toolchain.PythonOptions{
		Root:       info.RootDirectory,
		ProgramDir: info.ProgramDirectory,
		Virtualenv: virtualenv,
		Toolchain:  toolchain.Pip,
	})
}
