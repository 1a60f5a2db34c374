package clients

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	autoscalingapply "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

func deployment(c *cluster, replicas int32) *appsapply.DeploymentApplyConfiguration {
	labels := map[string]string{"app": "web"}
	pod := coreapply.PodSpec().WithContainers(coreapply.Container().WithName("c").WithImage("nginx:1"))
	template := coreapply.PodTemplateSpec().WithLabels(labels).WithSpec(pod)
	selector := metaapply.LabelSelector().WithMatchLabels(labels)
	spec := appsapply.DeploymentSpec().WithReplicas(replicas).WithSelector(selector).WithTemplate(template)
	return appsapply.Deployment("web", c.space).WithSpec(spec)
}

// TestServerSideApply applies, conflicts, forces, extracts what one manager owns, gives up a field, sets a status.
func TestServerSideApply(t *testing.T) {
	c := start(t)
	deployments := c.client.AppsV1().Deployments(c.space)
	mine, other := metav1.ApplyOptions{FieldManager: "mine"}, metav1.ApplyOptions{FieldManager: "other"}
	made, err := deployments.Apply(c.ctx, deployment(c, 2), mine)
	c.must(err)
	again, err := deployments.Apply(c.ctx, deployment(c, 2), mine)
	c.must(err)
	equal(c, "the version of what is the same", again.ResourceVersion, made.ResourceVersion)
	_, err = deployments.Apply(c.ctx, deployment(c, 3), other)
	c.refused(errors.IsConflict, err, `Apply failed with 1 conflict: conflict with "mine": .spec.replicas`)
	other.Force = true
	_, err = deployments.Apply(c.ctx, deployment(c, 3), other)
	c.must(err)
	now, err := deployments.Get(c.ctx, "web", metav1.GetOptions{})
	c.must(err)
	owned, err := appsapply.ExtractDeployment(now, "mine")
	c.must(err)
	if owned.Spec.Replicas != nil || *owned.Spec.Template.Spec.Containers[0].Image != "nginx:1" {
		c.Fatalf("owned: %v", owned)
	}
	owned, err = appsapply.ExtractDeployment(now, "other")
	c.must(err)
	equal(c, "the other's replicas", *owned.Spec.Replicas, 3)
	status := appsapply.Deployment("web", c.space).WithStatus(appsapply.DeploymentStatus().WithReplicas(3).WithConditions(
		appsapply.DeploymentCondition().WithType("Available").WithStatus(corev1.ConditionTrue)))
	now, err = deployments.ApplyStatus(c.ctx, status, mine)
	c.must(err)
	equal(c, "the status' replicas", now.Status.Replicas, 3)
	equal(c, "the managers", len(now.ManagedFields), 3)
	extracted, err := appsapply.ExtractDeploymentStatus(now, "mine")
	c.must(err)
	equal(c, "the extracted status' replicas", *extracted.Status.Replicas, 3)
}

// TestScale reads, updates and applies through the subresource.
func TestScale(t *testing.T) {
	c := start(t)
	deployments := c.client.AppsV1().Deployments(c.space)
	_, err := deployments.Apply(c.ctx, deployment(c, 2), metav1.ApplyOptions{FieldManager: "mine"})
	c.must(err)
	scale, err := deployments.GetScale(c.ctx, "web", metav1.GetOptions{})
	c.must(err)
	equal(c, "selector", scale.Status.Selector, "app=web")
	scale.Spec = autoscalingv1.ScaleSpec{Replicas: 5}
	scale, err = deployments.UpdateScale(c.ctx, "web", scale, metav1.UpdateOptions{})
	c.must(err)
	equal(c, "replicas", scale.Spec.Replicas, 5)
	applied := autoscalingapply.Scale().WithSpec(autoscalingapply.ScaleSpec().WithReplicas(6))
	_, err = deployments.ApplyScale(c.ctx, "web", applied, metav1.ApplyOptions{FieldManager: "hpa"})
	c.refused(errors.IsConflict, err, "conflict")
	scale, err = deployments.ApplyScale(c.ctx, "web", applied, metav1.ApplyOptions{FieldManager: "hpa", Force: true})
	c.must(err)
	equal(c, "applied replicas", scale.Spec.Replicas, 6)
}

// TestRetryOnConflict lets eight writers count in one object.
func TestRetryOnConflict(t *testing.T) {
	c := start(t)
	c.configMap("counter", map[string]string{"n": "0"})
	maps := c.client.CoreV1().ConfigMaps(c.space)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			err := retry.OnError(retry.DefaultBackoff, errors.IsConflict, func() error {
				return retry.RetryOnConflict(retry.DefaultRetry, func() error {
					found, err := maps.Get(c.ctx, "counter", metav1.GetOptions{})
					if err != nil {
						return err
					}
					n, _ := strconv.Atoi(found.Data["n"])
					found.Data["n"] = strconv.Itoa(n + 1)
					_, err = maps.Update(c.ctx, found, metav1.UpdateOptions{})
					return err
				})
			})
			if err != nil {
				c.Error(err)
			}
		})
	}
	group.Wait()
	found, err := maps.Get(c.ctx, "counter", metav1.GetOptions{})
	c.must(err)
	equal(c, "count", found.Data["n"], "8")
}

// TestPatches are of each sort.
func TestPatches(t *testing.T) {
	c := start(t)
	c.pod("p")
	pods := c.client.CoreV1().Pods(c.space)
	for sort, patch := range map[types.PatchType]string{
		types.StrategicMergePatchType: `{"spec":{"containers":[{"name":"c","image":"new:1"}]}}`,
		types.MergePatchType:          `{"metadata":{"labels":{"a":"b"}}}`,
		types.JSONPatchType:           `[{"op":"add","path":"/metadata/annotations","value":{"a":"b"}}]`,
		types.ApplyYAMLPatchType:      "apiVersion: v1\nkind: Pod\nmetadata: {labels: {applied: 'yes'}}",
	} {
		options := metav1.PatchOptions{}
		if sort == types.ApplyYAMLPatchType {
			options.FieldManager = "yaml"
		}
		_, err := pods.Patch(c.ctx, "p", sort, []byte(patch), options)
		c.must(err)
	}
	found, err := pods.Get(c.ctx, "p", metav1.GetOptions{})
	c.must(err)
	equal(c, "image", found.Spec.Containers[0].Image, "new:1")
	equal(c, "labels", found.Labels["a"]+found.Labels["applied"], "byes")
	equal(c, "annotation", found.Annotations["a"], "b")
	_, err = pods.Patch(c.ctx, "p", types.JSONPatchType, []byte(`[{"op":"test","path":"/a","value":1}]`), metav1.PatchOptions{})
	c.refused(errors.IsInvalid, err, "the server rejected our request")
}

// TestErrors are what client-go's own functions take them for.
func TestErrors(t *testing.T) {
	c := start(t)
	maps := c.client.CoreV1().ConfigMaps(c.space)
	made := c.configMap("a", nil)
	_, err := maps.Get(c.ctx, "b", metav1.GetOptions{})
	c.refused(errors.IsNotFound, err, `configmaps "b" not found`)
	_, err = maps.Create(c.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "A_"}}, metav1.CreateOptions{})
	c.refused(errors.IsInvalid, err, `ConfigMap "A_" is invalid: metadata.name`)
	cause, ok := errors.StatusCause(err, metav1.CauseTypeFieldValueInvalid)
	if !ok || cause.Field != "metadata.name" {
		c.Fatalf("cause: %v", cause)
	}
	elsewhere := c.client.CoreV1().ConfigMaps("no-such-namespace")
	_, err = elsewhere.Create(c.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	c.refused(errors.IsNotFound, err, `namespaces "no-such-namespace" not found`)
	_, err = maps.List(c.ctx, metav1.ListOptions{LabelSelector: "a in ("})
	c.refused(errors.IsBadRequest, err, "unable to parse requirement")
	_, err = maps.List(c.ctx, metav1.ListOptions{Continue: "nonsense"})
	c.refused(errors.IsBadRequest, err, "continue key is not valid")
	// Without the ten repetitions of client-go, for which the server says how long to wait.
	future := c.client.CoreV1().RESTClient().Get().Namespace(c.space).Resource("configmaps").MaxRetries(0)
	err = future.Param("resourceVersion", "999999999999").Do(c.ctx).Error()
	if !errors.IsTimeout(err) || !errors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		c.Fatalf("a future version: %v", err)
	}
	wrong := metav1.Preconditions{UID: (*types.UID)(new(string))}
	err = maps.Delete(c.ctx, "a", metav1.DeleteOptions{Preconditions: &wrong})
	c.refused(errors.IsConflict, err, "the UID in the precondition () does not match the UID in record")
	joe := *c.config
	joe.TLSClientConfig.CertData, joe.TLSClientConfig.KeyData = nil, nil
	joe.CertFile, joe.KeyFile, joe.BearerToken = "", "", "joe-token"
	_, err = kubernetes.NewForConfigOrDie(&joe).CoreV1().Secrets(c.space).List(c.ctx, metav1.ListOptions{})
	c.refused(errors.IsForbidden, err, `User "joe" cannot list resource "secrets" in API group "" in the namespace`)
	joe.BearerToken = "nobody's"
	_, err = kubernetes.NewForConfigOrDie(&joe).CoreV1().Secrets(c.space).List(c.ctx, metav1.ListOptions{})
	c.refused(errors.IsUnauthorized, err, "Unauthorized")
	err = c.client.CoreV1().RESTClient().Delete().AbsPath("/api/v1/namespaces").Do(c.ctx).Error()
	c.refused(errors.IsMethodNotSupported, err, "")
	changed := made.DeepCopy()
	changed.UID = "x"
	_, err = maps.Update(c.ctx, changed, metav1.UpdateOptions{})
	c.refused(errors.IsConflict, err, "Precondition failed: UID in precondition: x, UID in object meta:")
}

type warnings struct {
	sync.Mutex
	said []string
}

func (w *warnings) HandleWarningHeader(code int, _ string, text string) {
	w.Lock()
	defer w.Unlock()
	w.said = append(w.said, fmt.Sprint(code, " ", text))
}

// TestOptionsOfWrites are dry runs, strict fields, generated names and warnings.
func TestOptionsOfWrites(t *testing.T) {
	c := start(t)
	heard := &warnings{}
	config := *c.config
	config.WarningHandler = heard
	client := kubernetes.NewForConfigOrDie(&config)
	maps := client.CoreV1().ConfigMaps(c.space)
	obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "made-"}}
	made, err := maps.Create(c.ctx, obj, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	c.must(err)
	_, err = maps.Get(c.ctx, made.Name, metav1.GetOptions{})
	c.refused(errors.IsNotFound, err, "not found")
	made, err = maps.Create(c.ctx, obj, metav1.CreateOptions{FieldManager: "me", FieldValidation: "Strict"})
	c.must(err)
	if !strings.HasPrefix(made.Name, "made-") || len(made.Name) != 10 {
		c.Fatalf("name %q", made.Name)
	}
	equal(c, "manager", made.ManagedFields[0].Manager, "me")
	raw := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"raw"},"dada":{}}`
	post := func(validation string) error {
		request := client.CoreV1().RESTClient().Post().Namespace(c.space).Resource("configmaps").SetHeader("Content-Type", "application/json")
		return request.Param("fieldValidation", validation).Body([]byte(raw)).Do(c.ctx).Error()
	}
	c.refused(errors.IsBadRequest, post("Strict"), `strict decoding error: unknown field "dada"`)
	c.must(post("Warn"))
	heard.Lock()
	defer heard.Unlock()
	equal(c, "warnings", strings.Join(heard.said, "|"), `299 unknown field "dada"`)
}

// TestDeletions respect finalizers, owners' policies and selectors.
func TestDeletions(t *testing.T) {
	c := start(t)
	maps := c.client.CoreV1().ConfigMaps(c.space)
	held := c.configMap("held", nil)
	held.Finalizers = []string{"example.com/hold"}
	held, err := maps.Update(c.ctx, held, metav1.UpdateOptions{})
	c.must(err)
	foreground := metav1.DeletePropagationForeground
	c.must(maps.Delete(c.ctx, "held", metav1.DeleteOptions{PropagationPolicy: &foreground}))
	held, err = maps.Get(c.ctx, "held", metav1.GetOptions{})
	c.must(err)
	if held.DeletionTimestamp == nil || len(held.Finalizers) != 2 {
		c.Fatalf("held: %v", held.ObjectMeta)
	}
	held.Finalizers = nil
	_, err = maps.Update(c.ctx, held, metav1.UpdateOptions{})
	c.must(err)
	_, err = maps.Get(c.ctx, "held", metav1.GetOptions{})
	c.refused(errors.IsNotFound, err, "not found")
	c.configMap("a", nil)
	c.configMap("b", nil)
	c.must(maps.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "of=" + c.space}))
	rest, err := maps.List(context.Background(), metav1.ListOptions{LabelSelector: "of=" + c.space})
	c.must(err)
	equal(c, "what is left", len(rest.Items), 0)
}
